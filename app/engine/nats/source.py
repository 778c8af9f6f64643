"""The jobs that the broker has for a worker, one at a time."""

from contextlib import suppress

import anyio
import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import APIError

from app.engine.nats import subjects
from app.engine.nats.broker import Broker

_PULL_SECONDS = 5.0


class JobSource:
    """Takes the jobs of a group of workers, which may change."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._wanted = self._bound = ""
        self._pull = anyio.CancelScope()
        self._jobs: JetStreamContext.PullSubscription | None = None

    def follow(self, group: str) -> None:
        """Take the jobs of this group from now on."""
        if group != self._wanted:
            self._wanted = group
            self.ask_anew()

    def ask_anew(self) -> None:
        """Repeat the request for a job. A broker that was away has forgotten it."""
        self._pull.cancel()

    async def next(self) -> Msg | None:
        """Return a job, or None if none came for a while. Raises one of ``Gone``."""
        with anyio.CancelScope() as self._pull:
            return await self._fetch(await self._subscription())
        return None

    async def _subscription(self) -> JetStreamContext.PullSubscription:
        if self._jobs is None or self._bound != self._wanted:
            if self._jobs:
                await self._jobs.unsubscribe()
            stream = self._broker.client.jetstream()
            self._jobs = await stream.pull_subscribe_bind(consumer=self._wanted, stream=subjects.JOBS)
            self._bound = self._wanted
        return self._jobs

    @staticmethod
    async def _fetch(jobs: JetStreamContext.PullSubscription) -> Msg | None:
        with suppress(nats.errors.TimeoutError, TimeoutError):
            try:
                return (await jobs.fetch(1, timeout=_PULL_SECONDS))[0]
            except APIError:
                # The web makes the consumer of a group when it first hears of one of its workers.
                await anyio.sleep(0.1)
        return None
