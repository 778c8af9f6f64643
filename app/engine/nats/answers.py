"""The worker's answers to questions of the web."""

import json
import logging
from contextlib import suppress
from typing import Any

from nats.aio.msg import Msg

from app.engine.local import LocalEngine
from app.engine.nats import asks
from app.engine.nats.adoption import Adoption
from app.engine.nats.broker import Gone

_log = logging.getLogger(__name__)


class Answers:
    """Answers questions about runs, also of other workers, and about this machine.

    The web also tells a worker in this way that it gets no runs (``refused``), which belongs into the log here, too.
    """

    def __init__(self, engine: LocalEngine, adoption: Adoption) -> None:
        self._engine = engine
        self._adoption = adoption

    async def respond(self, msg: Msg) -> None:
        """Answer a question, with an error if there is no answer."""
        try:
            name, *arguments = json.loads(msg.data)
            answer = asks.answer(name, await self._answer(name, arguments))
        except Exception as error:
            if type(error).__name__ not in asks.ERRORS:
                _log.exception("a question could not be answered")
            answer = asks.refusal(error)
        with suppress(*Gone):
            await msg.respond(answer)

    async def _answer(self, name: str, arguments: list[Any]) -> object:
        if name in ("card", "details", "steps"):
            await self._adoption.have(arguments[0])
            if name == "steps":
                job = (await self._engine.status(arguments[0])).job
                if job.after:
                    await self._adoption.have(job.after)
            method = {"details": "artifact_details"}.get(name, name)
            return await getattr(self._engine, method)(arguments[0])
        if name == "refused":
            _log.error("%s", arguments[0])
            return None
        if name in asks.ANSWERS:
            return await getattr(self._engine.inventory, name)(*arguments)
        raise ValueError(f"no worker knows the question {name!r}")
