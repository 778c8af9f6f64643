"""Decides when accepted runs start, and tells those that wait their positions."""

import time
from collections.abc import Callable

from app.engine.log import Run
from app.engine.queue import FairQueue
from app.settings import Settings

TICK = 0.5
"""Seconds within which changes of the queue are told as one."""


class Dispatcher:
    """The queue of this engine's runs. ``start`` is called with each run that gets a slot."""

    def __init__(self, settings: Settings, start: Callable[[Run], None]) -> None:
        self.queue = FairQueue[Run](
            settings.max_runs,
            settings.queue_length,
            settings.owner_queue_length,
            priority=lambda run: run.job.priority,
        )
        self._start = start
        self._moved = False
        self._told = 0.0

    def hold(self, run: Run) -> None:
        """Count a run against the bounds that cannot line up yet, until ``release``."""
        self.queue.hold(run.job.queue_owner)
        run.stands_at(self.queue.waiting, time.monotonic())

    def release(self, run: Run) -> None:
        """End what ``hold`` began; the run may line up now."""
        self.queue.release(run.job.queue_owner)

    def line_up(self, run: Run) -> None:
        """Let a run wait for a slot, or start it at once if one is free."""
        run.stands_at(self.queue.put(run.job.queue_owner, run), time.monotonic())
        self._moved = True
        self._start_waiting()

    def leave(self, run: Run) -> bool:
        """Take a run out of the queue; return False if it does not wait there."""
        left = self.queue.remove(run.job.queue_owner, run)
        self._moved |= left
        return left

    def free(self, run: Run) -> None:
        """Take back the slot of a run."""
        self.queue.finish(run.job.queue_owner)
        self._start_waiting()

    def tick(self) -> None:
        """Start what may start by now, and tell what has moved."""
        self._start_waiting()  # the last slot is free for everybody once others have been away long enough
        if self._moved:
            self._say_positions()

    def _start_waiting(self) -> None:
        started = False
        while run := self.queue.take():
            run.state = "running"
            self._start(run)
            started = self._moved = True
        if started and time.monotonic() - self._told > TICK:
            self._say_positions()

    def _say_positions(self) -> None:
        """Tell the waiting runs that have moved: an event for each, so changes within a tick are told as one."""
        self._told, self._moved = time.monotonic(), False
        for run, position in self.queue.positions():
            self._moved |= not run.stands_at(position, self._told)
