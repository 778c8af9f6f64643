"""Decide when accepted runs start, and emit the positions of those that wait."""

import time
from collections.abc import Callable

from app.engine.log import Run
from app.engine.queue import FairQueue
from app.settings import Settings

TICK = 0.5
"""Seconds in which changes of the queue make one event of a run."""


class Dispatcher:
    """Owns the queue of this engine's runs. Calls ``start`` with each run that gets a slot."""

    def __init__(self, settings: Settings, start: Callable[[Run], None]) -> None:
        self.queue = FairQueue[Run](
            settings.max_runs,
            settings.queue_length,
            settings.owner_queue_length,
            priority=lambda run: run.job.priority,
        )
        self._start = start
        self._moved = False
        self._emitted_at = 0.0

    def hold(self, run: Run) -> None:
        """Count a run that cannot be queued yet against the bounds, until ``release``."""
        self.queue.hold(run.job.queue_owner)
        run.stands_at(self.queue.waiting, time.monotonic())

    def release(self, run: Run) -> None:
        """Stop counting a run that ``hold`` counted."""
        self.queue.release(run.job.queue_owner)

    def enqueue(self, run: Run) -> None:
        """Queue a run, or start it at once if a slot is free."""
        self.queue.put(run.job.queue_owner, run)
        run.stands_at(self.queue.position(run.job.queue_owner, run), time.monotonic())
        self._moved = True
        self._start_waiting()

    def leave(self, run: Run) -> bool:
        """Take a run out of the queue; return False if it is not in it."""
        left = self.queue.remove(run.job.queue_owner, run)
        self._moved |= left
        return left

    def free(self, run: Run) -> None:
        """Free the slot of a run."""
        self.queue.finish(run.job.queue_owner)
        self._start_waiting()

    def tick(self) -> None:
        """Start the runs that may start by now, and emit the positions that have changed."""
        self._start_waiting()  # an owner may get the last slot once the others have been away for a while
        if self._moved:
            self._emit_positions()

    def _start_waiting(self) -> None:
        started = False
        while run := self.queue.take():
            run.state = "running"
            self._start(run)
            started = self._moved = True
        if started and time.monotonic() - self._emitted_at > TICK:
            self._emit_positions()

    def _emit_positions(self) -> None:
        """Emit the position of each waiting run that has moved, at most once a tick."""
        self._emitted_at, self._moved = time.monotonic(), False
        for run, position in self.queue.positions():
            self._moved |= not run.stands_at(position, self._emitted_at)
