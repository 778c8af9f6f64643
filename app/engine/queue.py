"""The queue of runs: owners take turns, and an owner with a run in progress leaves the last free slot to others.

Pure: it starts no task, does no IO, and reads the time from ``clock``.
"""

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from app.engine import OwnerQueueFullError, QueueFullError

PRESENT_SECONDS = 300.0
"""An owner counts as present for this long after a page, a stream or a run."""

T = TypeVar("T")
Owner = str | None


class FairQueue(Generic[T]):
    """Runs that wait for one of ``slots``, in a line for each owner.

    Owners are served round robin. A line is in order of ``priority``, then of arrival. While another owner is present,
    an owner with a run in progress does not get the last free slot, unless there is only one slot.

    At most ``length`` runs wait in all, and at most ``share`` of one owner. The owner None has only the first bound.
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
        self._present: OrderedDict[Owner, float] = OrderedDict()

    @property
    def waiting(self) -> int:
        """The number of runs in all lines, without those on hold."""
        return self._waiting

    def resize(self, slots: int) -> None:
        """Change the number of slots. Runs in progress stay, also if there are more of them."""
        self._slots = slots

    def note_presence(self, owner: Owner) -> None:
        """Note that the owner is present.

        Only the two owners that came last are kept: of each owner, that is enough to know when another one came.
        """
        self._present[owner] = self._clock()
        self._present.move_to_end(owner)
        if len(self._present) > 2:
            self._present.popitem(last=False)

    def check(self, owner: Owner) -> None:
        """Raise ``OwnerQueueFullError`` or ``QueueFullError`` if no further run of the owner may wait."""
        own = len(self._lines.get(owner, ())) + self._held[owner]
        if owner is not None and own >= self._share:
            raise OwnerQueueFullError(f"{own} runs of this owner are waiting already")
        everyones = self._waiting + self._held.total()
        if everyones >= self._length:
            raise QueueFullError(f"{everyones} runs are waiting already")

    def hold(self, owner: Owner) -> None:
        """Count a run that cannot be queued yet against both bounds, until ``release``."""
        self.note_presence(owner)
        self._held[owner] += 1

    def release(self, owner: Owner) -> None:
        """Stop counting a run that ``hold`` counted."""
        _take_one(self._held, owner)

    def put(self, owner: Owner, run: T) -> int:
        """Put the run into its owner's line; return its position in the sense of ``positions``."""
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
        """Give a slot to the run that starts next and return it, or None if no run may start."""
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
        """Free the slot of a run that ``take`` returned."""
        _take_one(self._running, owner)

    def remove(self, owner: Owner, run: T) -> bool:
        """Take a waiting run out of its line; return False if it is not in it."""
        line = self._lines.get(owner)
        if line is None or run not in line:
            return False
        line.remove(run)
        self._left(owner, line)
        return True

    def positions(self) -> Iterator[tuple[T, int]]:
        """Yield each waiting run with an upper bound of the waiting runs that start before it.

        For the first run of an owner without a run in progress, it is the number of owners whose turn comes before.
        Because of the last slot, all runs of other owners may start before an owner's further runs.
        """
        for lock_owner, (owner, line) in enumerate(self._lines.items()):
            for index, run in enumerate(line):
                yield run, self._position(owner, line, lock_owner, index)

    def _position(self, owner: Owner, line: deque[T], lock_owner: int, index: int) -> int:
        if index == 0 and (self._slots == 1 or not self._running[owner]):
            return lock_owner
        return self._waiting - len(line) + index

    def _must_share(self, owner: Owner) -> bool:
        """Return True if the owner has a slot and another owner is present, so that the last one stays free."""
        if self._slots == 1 or not self._running[owner]:
            return False
        since = self._clock() - PRESENT_SECONDS
        return any(other != owner and at > since for other, at in self._present.items())

    def _left(self, owner: Owner, line: deque[T]) -> None:
        self._waiting -= 1
        if not line:
            del self._lines[owner]


def _take_one(counts: Counter[Owner], owner: Owner) -> None:
    counts[owner] -= 1
    if not counts[owner]:
        del counts[owner]
