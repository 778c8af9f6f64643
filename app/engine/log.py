"""The log of one run, which is the only channel between the run and whoever follows it."""

import sys
import time
from collections.abc import AsyncGenerator

import anyio
from pydantic import BaseModel

from app.binary import Card
from app.engine import NoSuchRunError
from app.protocol.events import Artifact, Event, Finished, Output, Queued, Started, Verdict
from app.protocol.job import JobSpec, RunPhase, RunStatus
from app.run import runner

_PACE = 0.05
"""Seconds by which the pause between two positions grows with each."""
_OBJECT = 1500
"""Bytes of an event, or of a part of one, without its texts."""
_LOST = "The engine that ran this is gone. Run it again.\n"


class Run:
    """One run and its log; readers wait on ``changed``, which is replaced at each change."""

    def __init__(self, job: JobSpec) -> None:
        self.id = job.run_id
        self.job = job
        self.state: RunPhase = "queued"
        self.started: float | None = None
        self.memory_bytes = _memory_of(tuple(job.files.values()))
        self.log: list[Event] = []
        self.built: runner.Built | None = None
        self.card: Card | None = None
        self.preparing = False
        self.preparation = anyio.CancelScope()
        self.scope = anyio.CancelScope()
        self.readers = 0
        self.dropped = False
        self.idle_since = time.monotonic()
        self.changed = anyio.Event()
        self._told, self._told_at = 0, -_PACE

    def emit(self, event: Event) -> None:
        """Append an event; nothing comes after the verdict."""
        if self.verdict():
            return
        self.memory_bytes += _memory_of(event)
        if isinstance(event, Started):
            self.started = time.monotonic()
        self.log.append(event.numbered(len(self.log) + 1))
        self.changed.set()
        self.changed = anyio.Event()

    def stands_at(self, position: int, now: float) -> bool:
        """Say the position in the queue; return False if it is too early to say it.

        Each position is an event that stays until the run is dropped, so each is said after a longer pause than the
        one before: a run that waits for an hour tells some 400.
        """
        last = self.log[-1] if self.log else None
        if isinstance(last, Queued) and last.position == position:
            return True
        if now - self._told_at < self._told * _PACE:
            return False
        self._told, self._told_at = self._told + 1, now
        self.emit(Queued(position=position))
        return True

    async def follow(self, after_id: int = 0) -> AsyncGenerator[Event]:
        """Yield the events after ``after_id`` as they come; end after the verdict.

        Raises ``NoSuchRunError`` when the run is dropped: a slow reader keeps no run.
        """
        self.readers += 1
        at = max(after_id, 0)
        try:
            while True:
                changed = self.changed
                while at < len(self.log):
                    yield self.log[at]
                    at += 1
                if self.verdict():
                    return
                if self.dropped:
                    raise NoSuchRunError(self.id)
                if changed is self.changed:
                    await changed.wait()
        finally:
            self.readers -= 1
            self.idle_since = time.monotonic()

    def lose(self) -> None:
        """End a run that nobody executes any more and that cannot begin again."""
        if self.finished() is None:
            self.emit(Output(stream="stderr", text=_LOST))
            seconds = round(self.seconds(), 3)
            self.emit(Finished(status="failed", exit_code=None, seconds=seconds, reason="engine-lost"))
        self.end(Verdict(reached=False, checks=()))

    def status(self) -> RunStatus:
        """Where the run stands."""
        return RunStatus(
            id=self.id,
            state=self.state,
            job=self.job,
            finished=self.finished(),
            verdict=self.verdict(),
            seconds=self.seconds(),
            preparing=self.preparing,
        )

    def end(self, verdict: Verdict) -> None:
        # The state first: whoever sees the verdict finds the run done.
        self.state = "done"
        self.idle_since = time.monotonic()
        self.emit(verdict)

    def drop(self) -> None:
        """Let go of what the run holds, whoever still reads it."""
        self.dropped = True
        self.log = []
        self.card = None
        self.job = self.job.model_copy(update={"files": {}})
        self.changed.set()

    def seconds(self) -> float:
        """How long ago it began, 0 when it has not."""
        return 0.0 if self.started is None else time.monotonic() - self.started

    def artifact(self) -> Artifact | None:
        return next((event for event in reversed(self.log) if isinstance(event, Artifact)), None)

    def finished(self) -> Finished | None:
        return next((event for event in reversed(self.log) if isinstance(event, Finished)), None)

    def verdict(self) -> Verdict | None:
        last = self.log[-1] if self.log else None
        return last if isinstance(last, Verdict) else None


def _memory_of(value: object) -> int:
    """About how much memory a value takes: many small parts of a message weigh more than its text."""
    if isinstance(value, BaseModel):
        return _OBJECT + sum(map(_memory_of, vars(value).values()))
    if isinstance(value, tuple):
        return sum(map(_memory_of, value))
    return sys.getsizeof(value) if isinstance(value, str) else 0
