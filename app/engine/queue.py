"""The queue of runs: owners take turns, and an owner with a run in progress leaves the last free slot to others.

Pure: it starts no task and does no IO. ``clock`` gives it the time.
"""

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from app.engine import OwnerQueueFullError, QueueFullError

SEEN_SECONDS = 300.0
"""An owner counts as present for this long after a page, a stream or a run."""

T = TypeVar("T")
Owner = str | None


class FairQueue(Generic[T]):
    """Runs that wait for one of ``slots``, in a line for each owner.

    Owners are served round robin, and each line keeps its order. As long as another owner is present, an owner with a
    run in progress does not get the last free slot, unless there is only one.

    At most ``length`` runs wait in all, and ``share`` of one owner. The owner None has no bound of its own.
    In a line, runs of a higher ``priority`` come first.
    """

    def __init__(
        self,
        slots: int,
        length: int,
        share: int,
        clock: Callable[[], float] = time.monotonic,
        priority: Callable[[T], int] = lambda _run: 0,
    ) -> None:
        self._slots = slots
        self._length = length
        self._share = share
        self._clock = clock
        self._priority = priority
        self._lines: OrderedDict[Owner, deque[T]] = OrderedDict()
        self._waiting = 0
        self._held: Counter[Owner] = Counter()
        self._running: Counter[Owner] = Counter()
        self._seen: OrderedDict[Owner, float] = OrderedDict()

    @property
    def waiting(self) -> int:
        """The number of runs in all lines, those on hold not counted."""
        return self._waiting

    def note_presence(self, owner: Owner) -> None:
        """Note that the owner is present.

        The two owners seen last are enough to tell for each owner when another one was seen.
        """
        self._seen[owner] = self._clock()
        self._seen.move_to_end(owner)
        if len(self._seen) > 2:
            self._seen.popitem(last=False)

    def check(self, owner: Owner) -> None:
        """Raise ``OwnerQueueFullError`` or ``QueueFullError`` if no further run of the owner may wait."""
        own = len(self._lines.get(owner, ())) + self._held[owner]
        if owner is not None and own >= self._share:
            raise OwnerQueueFullError(f"{own} runs of this owner are waiting already")
        everyones = self._waiting + self._held.total()
        if everyones >= self._length:
            raise QueueFullError(f"{everyones} runs are waiting already")

    def hold(self, owner: Owner) -> None:
        """Count a run that cannot line up yet against both bounds, until ``release``."""
        self.note_presence(owner)
        self._held[owner] += 1

    def release(self, owner: Owner) -> None:
        """End what ``hold`` began; the run may line up now."""
        _take_one(self._held, owner)

    def put(self, owner: Owner, run: T) -> int:
        """Put the run into its owner's line and return its position, as ``positions`` defines it."""
        self.note_presence(owner)
        line = self._lines.setdefault(owner, deque())
        at = len(line)
        while at and self._priority(line[at - 1]) < self._priority(run):
            at -= 1
        line.insert(at, run)
        self._waiting += 1
        if at or len(line) == 1:
            return self._position(owner, line, len(self._lines) - 1, at)
        return self._position(owner, line, list(self._lines).index(owner), at)

    def take(self) -> T | None:
        """Return the run that starts now and give it a slot; None if no run may start."""
        free = self._slots - self._running.total()
        if free < 1:
            return None
        for owner, line in self._lines.items():
            if free > 1 or not self._must_share(owner):
                run = line.popleft()
                self._lines.move_to_end(owner)
                self._left(owner, line)
                self._running[owner] += 1
                return run
        return None

    def finish(self, owner: Owner) -> None:
        """Return the slot of a run that ``take`` gave out."""
        _take_one(self._running, owner)

    def remove(self, owner: Owner, run: T) -> bool:
        """Take a waiting run out of its line; return False if it does not wait there."""
        line = self._lines.get(owner)
        if line is None or run not in line:
            return False
        line.remove(run)
        self._left(owner, line)
        return True

    def positions(self) -> Iterator[tuple[T, int]]:
        """Yield each waiting run with an upper bound for how many of the others that wait now start before it.

        For the first run of an owner with none in progress this is the number of owners whose turn comes before. The
        owner's further runs may have to let all other owners pass, because of the last slot.
        """
        for lock_owner, (owner, line) in enumerate(self._lines.items()):
            for index, run in enumerate(line):
                yield run, self._position(owner, line, lock_owner, index)

    def _position(self, owner: Owner, line: deque[T], lock_owner: int, index: int) -> int:
        if index == 0 and (self._slots == 1 or not self._running[owner]):
            return lock_owner
        return self._waiting - len(line) + index

    def _must_share(self, owner: Owner) -> bool:
        """Return True if the owner has a slot already and another owner may want the last one."""
        if self._slots == 1 or not self._running[owner]:
            return False
        since = self._clock() - SEEN_SECONDS
        return any(other != owner and at > since for other, at in self._seen.items())

    def _left(self, owner: Owner, line: deque[T]) -> None:
        self._waiting -= 1
        if not line:
            del self._lines[owner]


def _take_one(counts: Counter[Owner], owner: Owner) -> None:
    counts[owner] -= 1
    if not counts[owner]:
        del counts[owner]
