"""Runs that were executed elsewhere, brought to this worker with their artifacts."""

from contextlib import suppress

import anyio

from app.engine import NoSuchRunError
from app.engine.local import LocalEngine
from app.engine.nats import artifacts
from app.engine.nats.broker import Broker
from app.engine.nats.runlog import events_of, known
from app.protocol.job import JobSpec


class Adoption:
    """Brings runs from the broker to the engine of this worker."""

    def __init__(self, broker: Broker, engine: LocalEngine) -> None:
        self._broker = broker
        self._engine = engine
        self._adopting = anyio.Lock()

    async def have(self, run_id: str) -> None:
        """Get a run with its artifact, unless it is here. Raises ``NoSuchRunError``, ``EngineUnavailableError``."""
        async with self._adopting:
            with suppress(NoSuchRunError):
                await self._engine.status(run_id)
                return
            found = await known(self._broker, run_id)
            if found.job is None:
                raise NoSuchRunError(run_id)
            job = JobSpec.model_validate_json(found.job.data)
            events, built = await events_of(self._broker, run_id)
            files = await artifacts.fetch(self._broker, run_id, built) if built else []
            path = next((event.path for event in events if event.type == "artifact"), "")
            await self._engine.adopt(job, events, path, files)

    async def forget(self, run_id: str) -> None:
        """Drop a run that the web has deleted at the broker."""
        async with self._adopting:  # or it would come back with a run that is being adopted
            await self._engine.discard(run_id)
