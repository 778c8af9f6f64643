"""One job on a worker: from its lease over its events to its acknowledgement."""

import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream
from nats.aio.msg import Msg

from app.engine import EngineUnavailableError, NoSuchRunError, NothingBuiltError
from app.engine.local import LocalEngine
from app.engine.nats import artifacts, subjects, words
from app.engine.nats.adoption import Adoption
from app.engine.nats.broker import Broker, FencedError, Gone
from app.engine.nats.holding import Holding
from app.engine.nats.runlog import (
    HANDED_BACK,
    BrokerArtifact,
    Lease,
    RunLog,
    events_of,
    first_lease,
    fitting,
    known,
    next_lease,
    so_far,
)
from app.engine.words import EXPIRED
from app.protocol.events import Artifact, Event, Finished, Output, Queued, Started, Verdict, from_json, to_json
from app.protocol.job import JobSpec

_log = logging.getLogger(__name__)
_MOST_ATTEMPTS = 3
_NOTICED_SECONDS = 1.0
_HAND_BACK_SECONDS = 0.5
_GATHER_SECONDS = 0.025
"""The time in which events are gathered to be written at once; a page shows them in steps of twice that time anyway."""
_SHORT_SECONDS = 0.125
"""The time after its start in which a run's events are gathered, because most builds end in it."""
_MOST_WITH_VERDICT = 64 * 1024
"""Characters of events that are written with the verdict, and bytes of an artifact for which they wait then."""


@dataclass(frozen=True)
class WorkerParts:
    """The parts that every attempt of a worker needs. ``count`` counts what became of it."""

    worker_id: str
    broker: Broker
    engine: LocalEngine
    adoption: Adoption
    holding: Holding
    count: Callable[[str], None]


class Attempt:
    """Executes a job. ``free`` is called once the run needs no slot any more, perhaps more than once."""

    def __init__(self, parts: WorkerParts, job: JobSpec, msg: Msg, free: Callable[[], None]) -> None:
        self._parts = parts
        self._broker, self._engine = parts.broker, parts.engine
        self._job, self._run_id = job, job.run_id
        self._msg = msg
        self._free = free
        self._cancelled = self._handed_back = False
        self._scope = anyio.CancelScope()
        self._run_log: RunLog | None = None
        self._built: BrokerArtifact | None = None
        self._built_is_stored = anyio.Event()
        self._again = words.BEGUN_AGAIN
        self.ended = anyio.Event()

    async def execute(self) -> None:
        """Execute the job, unless another worker does."""
        fenced = False
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._beat)
                    await self._from_lease_to_end()
                    tasks.cancel_scope.cancel()
        except* FencedError:
            _log.warning("another worker has taken run %s over", self._run_id)
            fenced = True
            self._parts.count("fenced")
        except* EngineUnavailableError as error:
            _log.warning("the broker went away during run %s: %s", self._run_id, _first(error))
        finally:
            with anyio.CancelScope(shield=True):
                if self._handed_back:
                    await self._give_back()  # first, because it may take long to end the run here
                if fenced or self._scope.cancel_called or not await self._is_done():
                    await self._engine.discard(self._run_id)
            self.ended.set()

    @property
    def lease(self) -> Lease | None:
        """The lease, once this worker has it."""
        return self._run_log.lease if self._run_log else None

    async def cancel(self) -> None:
        """End the run: a learner does not want it any more."""
        self._cancelled = True
        with suppress(NoSuchRunError):
            await self._engine.cancel(self._run_id)

    async def catch_up(self) -> None:
        """Learn of a wish to cancel that was missed while the broker was away. Raises ``EngineUnavailableError``."""
        self._cancelled |= (await known(self._broker, self._run_id)).cancelled
        if self._cancelled:
            await self.cancel()

    async def hand_back(self) -> None:
        """End the attempt here, and have another worker begin it again.

        ``execute`` gives the lease and the job back when it ends.
        """
        self._handed_back = True
        self._parts.count("handed_back")
        await self.abandon()

    async def _give_back(self) -> None:
        """Give the lease and the job back."""
        if self._run_log:
            with suppress(FencedError, EngineUnavailableError):
                await self._run_log.hand_back(seconds=_HAND_BACK_SECONDS)
        with suppress(*Gone):
            await self._msg.nak()

    async def abandon(self) -> None:
        """End the attempt here."""
        self._scope.cancel()
        await self.ended.wait()

    async def is_current(self) -> bool:
        """Return True unless another worker has the lease by now. Raises ``EngineUnavailableError``."""
        return self.lease is None or self.lease == (await known(self._broker, self._run_id)).lease

    async def _is_done(self) -> bool:
        try:
            return (await self._engine.status(self._run_id)).state == "done"
        except NoSuchRunError:
            return True

    async def _beat(self) -> None:
        while True:
            await anyio.sleep(subjects.BEAT_SECONDS)
            with suppress(*Gone):
                await self._msg.in_progress()

    async def _from_lease_to_end(self) -> None:
        headers = self._msg.headers or {}
        written, first = int(headers.get(subjects.EVENTS, 0)), headers.get(subjects.FIRST)
        is_new = self._msg.metadata.num_delivered == 1
        if is_new and not self._job.after:
            # Another worker has hardly ever begun it, so it starts while the broker stores the lease.
            await self._submit()
        # Noted at once, because a worker that stops now must give the lease back.
        log = self._run_log = await first_lease(self._broker, self._run_id, self._parts.worker_id)
        if log is None or not is_new or subjects.CERTAIN not in headers:
            is_first = log is not None
            written_events, is_cancelled = await so_far(self._broker, self._run_id)
            self._cancelled |= is_cancelled
            log = self._run_log = log or await self._take_over(written_events)
            if log is None:
                return
            # Another worker may have written until this one had the lease.
            written_events = (await events_of(self._broker, self._run_id, log.sequence))[0]
            first = first if len(written_events) == written else None
            written = len(written_events)
            if not is_first:
                if await self._end_if_over(log, written_events):
                    await self._msg.ack()
                    return
                written = await self._begin_again(log, written_events)
        await self._run(log, written, [from_json(first)] if first else [])
        await self._msg.ack()

    async def _take_over(self, written_events: Sequence[Event]) -> RunLog | None:
        """Take the lease from a worker that is gone. Return None if the run has ended, or is in progress elsewhere."""
        if _has_ended(written_events):
            await self._msg.ack()
            return None
        before = await known(self._broker, self._run_id)
        handed_back = before.lease is not None and before.lease.holder == HANDED_BACK
        if handed_back:
            self._again = words.HANDED_ON
        elif before.lease and await self._parts.holding.is_executed(self._run_id, before.lease):
            await self._msg.nak(subjects.ACK_SECONDS)
            return None
        log = await next_lease(self._broker, self._run_id, self._parts.worker_id, before)
        if log is not None and not handed_back:
            self._parts.count("taken_over")
        return log

    async def _end_if_over(self, log: RunLog, events: Sequence[Event]) -> bool:
        """End a run that has been begun too often, or cancelled meanwhile; return True if it has ended."""
        if _has_ended(events):
            return True
        assert log.lease
        if not self._cancelled and log.lease.attempt <= _MOST_ATTEMPTS:
            return False
        last: list[Event] = []
        if not self._cancelled:
            last.append(Output(stream="stderr", text=f"{words.TOO_MANY_ATTEMPTS}\n"))
        status: Literal["cancelled", "failed"] = "cancelled" if self._cancelled else "failed"
        last += [Finished(status=status, exit_code=None, seconds=0.0), Verdict(reached=False, checks=())]
        numbered = [event.numbered(len(events) + at) for at, event in enumerate(last, 1)]
        await log.append(numbered, seconds=math.inf)
        return True

    async def _begin_again(self, log: RunLog, events: Sequence[Event]) -> int:
        """Say in the log that the run begins again, if it had begun; return the number of its events."""
        written = len(events)
        if any(not isinstance(event, Queued) for event in events):
            written += 1
            await log.append([Output(id=written, stream="stderr", text=f"{self._again}\n")], seconds=math.inf)
        await self._engine.discard(self._run_id)
        return written

    async def _run(self, log: RunLog, written: int, first: Sequence[Event]) -> None:
        """Execute the run, and write its events as they come: those of a short time go together.

        Those of the web's that are not written yet come ``first``.
        """
        send, receive = anyio.create_memory_object_stream[Event](math.inf)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._write, log, receive, written)
            with send:
                async for event in self._events():
                    if isinstance(event, Started) and event.age is None:
                        tasks.start_soon(self._tell_executed, log)
                    elif isinstance(event, Finished):
                        self._free()
                    if not isinstance(event, Queued):
                        for part in (*first, *fitting(event)):
                            send.send_nowait(part)
                        first = ()
            tasks.start_soon(self._store_artifact)

    async def _tell_executed(self, log: RunLog) -> None:
        """Ask for the next job once the processors are free: it gets here while this run's verdict is made."""
        assert log.lease
        with suppress(NoSuchRunError, EngineUnavailableError):
            await self._engine.executed(self._run_id)
            self._free()
            await self._broker.tell(subjects.executed(self._run_id), log.lease.nonce.encode())

    async def _submit(self) -> None:
        """Have the run executed here, unless it is already. Raises ``NothingBuiltError``, ``NoSuchRunError``."""
        if self._job.after:
            await self._parts.adoption.have(self._job.after)
        # All runs here count as one owner's: the web's queue has decided that this one is next, and if it yields.
        yields = subjects.YIELDS in (self._msg.headers or {})
        await self._engine.submit(self._job.model_copy(update={"queue_owner": None}), yields=yields)

    async def _events(self) -> AsyncIterator[Event]:
        try:
            await self._submit()
        except (NothingBuiltError, NoSuchRunError):
            yield Output(stream="stderr", text=f"{EXPIRED}\n")
            yield Finished(status="failed", exit_code=None, seconds=0.0)
            yield Verdict(reached=False, checks=())
            return
        if self._cancelled:
            await self.cancel()
        async for event in self._engine.events(self._run_id):
            yield event

    async def _write(self, log: RunLog, events: MemoryObjectReceiveStream[Event], written: int) -> None:
        end: list[Event] = []
        short_until = 0.0
        with events:
            async for first in events:
                gathered = await _batch(first, events, max(_GATHER_SECONDS, short_until - time.monotonic()))
                if any(isinstance(event, Started) for event in gathered):
                    short_until = time.monotonic() + _SHORT_SECONDS
                batch = [each.numbered(written + at) for at, each in enumerate(gathered, 1)]
                written += len(batch)
                if end:
                    end += batch
                elif not isinstance(batch[-1], Finished):
                    written += await self._append(log, batch, written)
                else:
                    # A log whose last event is ``finished`` could not be begun again: it goes with the verdict.
                    is_quick = _is_quick(batch)
                    if not is_quick:
                        await log.append(batch[:-1], seconds=math.inf)
                    end = batch if is_quick else batch[-1:]
        await self._built_is_stored.wait()
        await log.append(end, self._built, seconds=math.inf)

    async def _store_artifact(self) -> None:
        """Store what the run built. The verdict waits for that."""
        with suppress(NoSuchRunError, NothingBuiltError):
            self._built = await artifacts.store(self._broker, self._run_id, self._engine.built(self._run_id))
        self._built_is_stored.set()

    async def _append(self, log: RunLog, events: Sequence[Event], written: int) -> int:
        """Store events. After an outage that readers have noticed, add a line about it; return how many were added."""
        began, was_connected = time.monotonic(), self._broker.connected
        await log.append(events, seconds=math.inf)
        away = time.monotonic() - began
        if away < _NOTICED_SECONDS or (was_connected and self._broker.lost_at < began):
            return 0
        told = Output(id=written + 1, stream="stderr", text=f"{words.was_away(round(away))}\n")
        await log.append([told], seconds=math.inf)
        return 1


async def _batch(first: Event, events: MemoryObjectReceiveStream[Event], seconds: float) -> list[Event]:
    """Return the event and those that come in so many seconds. A start, for which readers wait, is not delayed."""
    batch, last = [first], first
    with suppress(anyio.WouldBlock, anyio.EndOfStream):
        while not isinstance(last, Finished):
            last = events.receive_nowait()
            batch.append(last)
    if not isinstance(last, Started):
        with suppress(anyio.EndOfStream), anyio.move_on_after(seconds):
            while not isinstance(last, Finished):
                last = await events.receive()
                batch.append(last)
    return batch


def _is_quick(events: Sequence[Event]) -> bool:
    """Return True if the events fit into one message with the verdict, and no large artifact is stored before it."""
    large = any(isinstance(event, Artifact) and event.bytes > _MOST_WITH_VERDICT for event in events)
    return not large and sum(len(to_json(event)) for event in events) <= _MOST_WITH_VERDICT


def _first(error: BaseException) -> BaseException:
    """Return the first exception of nested groups: each task group adds one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _has_ended(events: Sequence[Event]) -> bool:
    return bool(events) and isinstance(events[-1], Verdict)
