"""The log of one run, which is the only channel between the run and whoever follows it."""

import secrets
import sys
import time
from dataclasses import replace

import anyio
from pydantic import BaseModel

from app import runner
from app.binary import Card
from app.engine import Job, State
from app.events import Artifact, Event, Finished, Queued, Started, Verdict

_PACE = 0.05
"""Seconds by which the pause between two positions grows with each."""
_OBJECT = 1500
"""Bytes of an event, or of a part of one, without its texts."""


class Run:
    """One run and its log; readers wait on ``changed``, which is replaced at each change."""

    def __init__(self, job: Job) -> None:
        self.id = secrets.token_hex(16)
        self.job = job
        self.state: State = "queued"
        self.started: float | None = None
        self.held_bytes = _held(tuple(job.files.values()))
        self.log: list[Event] = []
        self.built: runner.Built | None = None
        self.card: Card | None = None
        self.held = anyio.CancelScope()
        self.scope = anyio.CancelScope()
        self.readers = 0
        self.dropped = False
        self.idle_since = time.monotonic()
        self.changed = anyio.Event()
        self._told, self._told_at = 0, -_PACE

    def emit(self, event: Event) -> None:
        self.held_bytes += _held(event)
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
        self.job = replace(self.job, files={})
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


def _held(value: object) -> int:
    """About how much memory a value takes: many small parts of a message weigh more than its text."""
    if isinstance(value, BaseModel):
        return _OBJECT + sum(map(_held, vars(value).values()))
    if isinstance(value, tuple):
        return sum(map(_held, value))
    return sys.getsizeof(value) if isinstance(value, str) else 0
