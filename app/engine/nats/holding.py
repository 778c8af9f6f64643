"""A worker asks the holder of a lease before it takes the run over.

A broker that restarts delivers jobs again that are in progress, because it stores what it has delivered later than the
jobs. Without the question, each restart would begin running programs again.
"""

import time
from collections.abc import Callable

import anyio
import nats.errors
from nats.aio.msg import Msg

from app.engine.nats import subjects
from app.engine.nats.broker import Broker, Gone
from app.engine.nats.runlog import Lease

_ANSWER_SECONDS = 0.5
_RETURN_SECONDS = 2.0
"""Seconds after a reconnection in which a holder that does not listen may still be on its way back, too."""


class Holding:
    """Tells other workers whether a run is in progress here, and asks them.

    ``lease_of`` returns the lease under which this worker executes a run.
    """

    def __init__(self, broker: Broker, worker_id: str, lease_of: Callable[[str], Lease | None]) -> None:
        self._broker = broker
        self._id = worker_id
        self._lease_of = lease_of

    async def listen(self) -> None:
        """Answer other workers from now on."""
        await self._broker.subscribe(subjects.held_by(self._id), self._answer)

    async def _answer(self, msg: Msg) -> None:
        lease = self._lease_of(msg.data.decode())
        await msg.respond(lease.nonce.encode() if lease else b"")

    async def is_executed(self, run_id: str, lease: Lease) -> bool:
        """Return True if the holder of the lease says that it executes the run."""
        while True:
            try:
                told = await self._broker.client.request(
                    subjects.held_by(lease.holder), run_id.encode(), timeout=_ANSWER_SECONDS
                )
            except nats.errors.NoRespondersError:
                if time.monotonic() - self._broker.restored_at > _RETURN_SECONDS:
                    return False
                await anyio.sleep(0.1)
            except Gone:
                return False
            else:
                return told.data == lease.nonce.encode()
