"""Decide when accepted runs start, and emit the positions of those that wait."""

import time
from collections.abc import Callable, Iterator, Sequence

from app.engine.log import Run
from app.engine.owners import STANDINGS, Standing
from app.engine.queue import FairQueue
from app.settings import Settings

TICK = 0.5
"""Seconds in which changes of the queue make one event of a run."""
ASIDE_SECONDS = 2.0
"""Seconds after which a run in progress goes on without its slot if any owner without a run waits for one.

Without this, one endless run would halve the throughput of two processors for all others. It takes less than half of
them when it goes on, because it has a lower priority by then (``app.sandbox.watch``).
"""


class Dispatcher:
    """Owns the queue of this engine's runs. Calls ``start`` with each run that may start.

    At most ``settings.max_runs`` of them have a slot, and at most ``most_aside`` further ones are in progress.
    """

    def __init__(
        self,
        settings: Settings,
        start: Callable[[Run], None],
        most_aside: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        bounds = (settings.max_runs, settings.queue_length, settings.owner_queue_length)
        self.queue = FairQueue[Run](*bounds, clock, lambda run: run.job.priority, most_aside)
        self._start = start
        self._clock = clock
        self._long_seconds = max(settings.program_seconds, settings.boot_seconds) + ASIDE_SECONDS
        """Seconds after which a run counts as long for its owner; one that lessons ask for takes less."""
        self._began: dict[Run, float] = {}
        """The runs in progress, in the order in which they began."""
        self._aside: set[Run] = set()
        """Those without a slot."""
        self._moved = False
        self._emitted_at = 0.0

    def hold(self, run: Run) -> None:
        """Count a run that cannot be queued yet against the bounds, until ``release``."""
        self.queue.hold(run.job.queue_owner)
        run.stands_at(self.queue.waiting, self._clock())

    def release(self, run: Run) -> None:
        """Stop counting a run that ``hold`` counted."""
        self.queue.release(run.job.queue_owner)

    def enqueue(self, run: Run) -> None:
        """Queue a run, or start it at once if a slot is free."""
        self.queue.put(run.job.queue_owner, run)
        run.stands_at(self.queue.position(run.job.queue_owner, run), self._clock())
        self._moved = True
        self._start_waiting()

    def leave(self, run: Run) -> bool:
        """Take a run out of the queue; return False if it is not in it."""
        left = self.queue.remove(run.job.queue_owner, run)
        self._moved |= left
        return left

    def begin_again(self, run: Run) -> None:
        """Measure a run in progress from now on, because it has only begun now, or begins again."""
        if self._began.pop(run, None) is not None:
            self._began[run] = self._clock()

    def free(self, run: Run, *, executed: bool = False) -> None:
        """Free the slot of a run. ``executed``: its processes ended by themselves, although its log may not say so."""
        took = self._clock() - self._began.pop(run)
        self._aside.discard(run)
        self.queue.finish(run.job.queue_owner, long=self._was_long(run, took, executed=executed))
        self._start_waiting()

    def _was_long(self, run: Run, took: float, *, executed: bool) -> bool | None:
        """Return True if the run took long, and None if its length says nothing about its owner's other runs."""
        start, end = run.start(), run.finished()
        is_known = start is not None and start.age is not None
        if is_known or not (executed or (start and end)):
            return None  # nothing was executed, or not to its end
        if took >= self._long_seconds:
            return True
        return None if end and end.status == "cancelled" else False

    def tick(self) -> None:
        """Start the runs that may start by now, and emit the positions that have changed."""
        self._start_waiting()  # an owner may get the last slot once the others have been away for a while
        if self._moved:
            self._emit_positions()

    def _start_waiting(self) -> None:
        self._note_long()
        started = False
        while run := self.queue.take() or self._take_by_setting_aside():
            self._began[run] = self._clock()
            run.yields = self._yields_from_start(run)
            run.state = "running"
            self._start(run)
            started = self._moved = True
        if started and self._clock() - self._emitted_at > TICK:
            self._emit_positions()

    def _yields_from_start(self, run: Run) -> bool:
        if run.told_to_yield is not None:
            return run.told_to_yield
        owner = run.job.queue_owner  # None stands for many owners: a run of one says nothing about the next one's
        return owner is not None and self.queue.standing(owner) == "long"

    def _note_long(self) -> None:
        """Tell the queue which owners have a run that takes long, before it ends."""
        for run, began in self._began.items():
            if self._clock() - began < self._long_seconds:
                break
            self.queue.note_long(run.job.queue_owner)

    def _take_by_setting_aside(self) -> Run | None:
        """Set a run aside and return the run that gets its slot, or None."""
        for run, standings in self._candidates_to_set_aside():
            if run not in self._aside and self.queue.set_aside(run.job.queue_owner, *standings):
                self._aside.add(run)
                run.yields = True
                return self.queue.take_newcomer(*standings)
        return None

    def _candidates_to_set_aside(self) -> Iterator[tuple[Run, Sequence[Standing]]]:
        """Yield the runs that may be set aside, each with the standings of the owners for whom it makes room.

        It does so at once for owners of a better standing than its own, and later for every owner.
        """
        for number, standing in reversed(tuple(enumerate(STANDINGS))):
            for run in self._began:
                if self.queue.standing(run.job.queue_owner) == standing:
                    yield run, STANDINGS[:number]
        for run, began in self._began.items():
            if self._clock() - began >= ASIDE_SECONDS:
                yield run, STANDINGS

    def _emit_positions(self) -> None:
        """Emit the position of each waiting run that has moved, at most once a tick."""
        self._emitted_at, self._moved = self._clock(), False
        for run, position in self.queue.positions():
            self._moved |= not run.stands_at(position, self._emitted_at)
