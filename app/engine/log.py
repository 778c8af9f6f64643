"""The log of one run: the only channel between the run and its readers."""

import os
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator
from functools import cached_property

import anyio
from pydantic import BaseModel

from app.binary import Card
from app.engine import NoSuchRunError, words
from app.protocol.events import Artifact, Event, Finished, Output, Queued, Started, Verdict
from app.protocol.job import JobSpec, RunPhase, RunStatus
from app.run import runner

_PACE = 0.05
"""Seconds by which the pause before the next ``queued`` event grows with each of them."""
_A_SECOND = 2
"""``queued`` events of a run within one second."""
_OBJECT = 1500
"""About the bytes of memory that an event, or a model in it, takes besides its texts."""


class Run:
    """One run and its log. Readers wait for ``changed``, which each change replaces by a new event."""

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
        self.stopped = False
        """True once the engine has been told to stop: a cancellation is not the learner's then."""
        self.yields = False
        """True once other runs get the processors first."""
        self.told_to_yield: bool | None = None
        """Set if another engine's queue has decided whether the run yields from its start."""
        self.idle_since = time.monotonic()
        self.executed = anyio.Event()
        """Set once no process of the run is left. What it built is examined after that, and then the verdict comes."""
        self.changed = anyio.Event()
        self.timing: dict[str, float] = {}
        self.answer_key: str | None = None
        """The key of its answer (``app.engine.kept``), None if it has none."""
        self.answer_waits = 0
        """How often it waited for the answer of an identical run in progress."""
        self._marked = time.perf_counter()
        self._positions = 0
        self._positions_at: deque[float] = deque(maxlen=_A_SECOND)

    def emit(self, event: Event) -> None:
        """Append an event, unless the log has ended with the verdict."""
        if self.verdict():
            return
        if self.stopped and isinstance(event, Finished) and event.status == "cancelled":
            event = event.model_copy(update={"reason": "restarted"})
        self.memory_bytes += _memory_of(event)
        if isinstance(event, Started):
            self.started = time.monotonic()
        self.log.append(event.numbered(len(self.log) + 1))
        self.changed.set()
        self.changed = anyio.Event()

    def say(self, line: str) -> None:
        """Append a line to the output."""
        self.emit(Output(stream="stderr", text=f"{line}\n"))

    def mark(self, stage: str) -> None:
        """Note that a stage has ended: it took the time since the last one ended."""
        now = time.perf_counter()
        self.timing[stage] = round(self.timing.get(stage, 0.0) + 1000 * (now - self._marked), 2)
        self._marked = now
        if stage == "end":
            self.executed.set()

    def stands_at(self, position: int, now: float) -> bool:
        """Emit the position in the queue; return False if it is too early for another event.

        Every position is an event that stays until the run is dropped. So the pause grows with each of them: a run that
        waits for an hour emits about 400.
        """
        last = self.log[-1] if self.log else None
        if isinstance(last, Queued) and last.position == position:
            return True
        times = self._positions_at
        many = len(times) == _A_SECOND and now - times[0] < 1
        if many or (times and now - times[-1] < self._positions * _PACE):
            return False
        times.append(now)
        self._positions += 1
        self.emit(Queued(position=position))
        return True

    async def follow(self, after_id: int = 0) -> AsyncGenerator[Event]:
        """Yield the events after ``after_id`` as they come; end after the verdict.

        Raises ``NoSuchRunError`` when the run is dropped: a slow reader does not keep it.
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
        """End a run whose engine is gone and that cannot begin again."""
        if self.finished() is None:
            self.say(words.ENGINE_LOST)
            seconds = round(self.seconds(), 3)
            self.emit(Finished(status="failed", exit_code=None, seconds=seconds, reason="engine-lost"))
        self.end(Verdict(reached=False, checks=()))

    def status(self) -> RunStatus:
        """Return the run's status."""
        return RunStatus(
            id=self.id,
            state=self.state,
            job=self.job,
            finished=self.finished(),
            verdict=self.verdict(),
            seconds=self.seconds(),
            preparing=self.preparing,
            timing=dict(self.timing),
        )

    def end(self, verdict: Verdict) -> None:
        """Append the verdict, which ends the log."""
        # The state comes first, so that a reader of the verdict finds the run done.
        self.state = "done"
        self.idle_since = time.monotonic()
        self.executed.set()
        self.emit(verdict)

    def drop(self) -> None:
        """Release the memory of the run. Its readers get ``NoSuchRunError``."""
        self.dropped = True
        self.log = []
        self.card = None
        self.job = self.job.model_copy(update={"files": {}})
        self.changed.set()

    def seconds(self) -> float:
        """Return the seconds since the run started, or 0 if it has not."""
        return 0.0 if self.started is None else time.monotonic() - self.started

    @property
    def built_bytes(self) -> int:
        """The size of the files that the run left."""
        return self.built.bytes if self.built else 0

    @cached_property
    def artifact_id(self) -> object:
        """A name for the files of a run that is done. Runs with the same kept answer share them, and so the name."""
        try:
            status = os.stat(self.built.file) if self.built else None
        except OSError:
            status = None
        return (status.st_dev, status.st_ino) if status else self.id

    def artifact(self) -> Artifact | None:
        """Return the last ``artifact`` event."""
        return next((event for event in reversed(self.log) if isinstance(event, Artifact)), None)

    def start(self) -> Started | None:
        """Return the last ``started`` event."""
        return next((event for event in reversed(self.log) if isinstance(event, Started)), None)

    def finished(self) -> Finished | None:
        """Return the ``finished`` event."""
        return next((event for event in reversed(self.log) if isinstance(event, Finished)), None)

    def verdict(self) -> Verdict | None:
        """Return the verdict."""
        last = self.log[-1] if self.log else None
        return last if isinstance(last, Verdict) else None


def _memory_of(value: object) -> int:
    """Estimate the memory of a value: many small parts of a message can take more than its text."""
    if isinstance(value, BaseModel):
        return _OBJECT + sum(map(_memory_of, vars(value).values()))
    if isinstance(value, tuple):
        return sum(map(_memory_of, value))
    return sys.getsizeof(value) if isinstance(value, str) else 0
