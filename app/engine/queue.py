"""The queue of runs: start-time fair queueing of slot seconds over owners. Long runs never get every slot.

Pure: it starts no task, does no IO, and reads the time from ``clock``.
"""

import heapq
import itertools
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from app.engine import OwnerQueueFullError, QueueFullError
from app.engine.owners import STANDINGS, Owner, Owners, Standing

EXPECTED_SECONDS = 1.0
"""The slot seconds that positions assume for a run that waits."""
_FEW = 64

T = TypeVar("T")
_Key = tuple[bool, float, int, int]


@dataclass(eq=False)
class _Account(Generic[T]):
    """An owner's waiting runs, the number of its runs in progress, and the slot seconds that it has used.

    ``running`` is the number of those with a slot, ``aside`` of those without.

    ``used`` is a point in virtual time: the start tag of the owner's next run. ``turn`` orders owners with equal use:
    the one that was served longest ago comes first. ``entry`` is the account's entry in a ranking; older ones are void.
    """

    owner: Owner
    used: float
    turn: int
    line: deque[T] = field(default_factory=deque)
    running: int = 0
    aside: int = 0
    entry: "_Entry[T] | None" = None

    @property
    def in_progress(self) -> int:
        """The number of runs in progress."""
        return self.running + self.aside

    @property
    def rank(self) -> tuple[float, int]:
        """The account with the lowest rank is served next."""
        return self.used, self.turn


_Entry: TypeAlias = tuple[tuple[float, int], int, Standing, _Account[T]]


class FairQueue(Generic[T]):
    """Runs that wait for one of ``slots``, in a line for each owner.

    The owner that has used the fewest slot seconds is served next, so a long run counts for what it costs, also while
    it is in progress. Virtual time advances by the share of each owner that waits or runs. An owner that comes, or
    comes back, starts there: it gets no credit for its absence, and what it used in excess still counts. When nothing
    waits or runs, everything is forgiven.

    A line is in order of ``priority``, then of arrival. While another owner is present, an owner with a run in progress
    does not get the last free slot, unless there is only one slot.

    A run in progress can be set aside: it goes on without its slot, which another owner gets. For its own owner it
    still counts as one that takes a slot: while another owner is present, it leaves one more slot free.

    Long runs never get every slot, unless there is only one. While another owner is present, those of ``long`` standing
    have at most half of the slots, counting their runs that are aside. While an owner of ``short`` standing is present,
    the runs of all others might keep their slots. Once one is aside, these owners begin no run that could not be set
    aside as well, unless that leaves them one aside and half of the slots. They have at most half of the slots if no
    further run may be set aside, or if an owner of ``long`` standing is present: it rarely comes alone.

    At most ``length`` runs wait in all, and at most ``owner_length`` of one owner. The owner None has only the first
    bound. At most ``most_aside`` runs are aside.
    """

    def __init__(
        self,
        slots: int,
        length: int,
        owner_length: int,
        clock: Callable[[], float] = time.monotonic,
        priority: Callable[[T], int] = lambda _run: 0,
        most_aside: int = 0,
    ) -> None:
        self._slots = slots
        self._length = length
        self._owner_length = owner_length
        self._clock = clock
        self._priority = priority
        self._most_aside = most_aside
        self._accounts: dict[Owner, _Account[T]] = {}
        self._busy: dict[Owner, _Account[T]] = {}
        self._rankings: dict[Standing, list[_Entry[T]]] = {each: [] for each in STANDINGS}
        """A heap for each standing of the accounts that wait without a run in progress; a rank may be too low."""
        self._turns, self._entries = itertools.count(), itertools.count()
        self._now, self._virtual = clock(), 0.0
        self._waiting, self._lines, self._many = 0, 0, _FEW
        self._held: Counter[Owner] = Counter()
        self._owners = Owners(clock)

    @property
    def waiting(self) -> int:
        """The number of runs in all lines, without those on hold."""
        return self._waiting

    def resize(self, slots: int) -> None:
        """Change the number of slots. Runs in progress stay, also if there are more of them."""
        self._slots = slots

    def note_presence(self, owner: Owner) -> None:
        """Note that the owner is present."""
        self._owners.note_presence(owner)

    def note_long(self, owner: Owner) -> None:
        """Note that a run of the owner has been in progress for long."""
        self._owners.note_run(owner, long=True)

    def standing(self, owner: Owner) -> Standing:
        """Return the owner's standing."""
        return self._owners.standing(owner)

    def check(self, owner: Owner) -> None:
        """Raise ``OwnerQueueFullError`` or ``QueueFullError`` if no further run of the owner may wait."""
        account = self._accounts.get(owner)
        own = (len(account.line) if account else 0) + self._held[owner]
        if owner is not None and own >= self._owner_length:
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
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]

    @contextmanager
    def held(self, owner: Owner) -> Iterator[None]:
        """Count a run against both bounds for the duration of the block."""
        self.hold(owner)
        try:
            yield
        finally:
            self.release(owner)

    def put(self, owner: Owner, run: T) -> None:
        """Put the run into its owner's line."""
        self._advance()
        self.note_presence(owner)
        account = self._accounts.get(owner)
        if account is None:
            account = self._accounts[owner] = _Account(owner, self._virtual, next(self._turns))
        elif not account.line and not account.in_progress:
            account.used, account.turn = max(account.used, self._virtual), next(self._turns)
        line = account.line
        at = len(line)
        while at and self._priority(line[at - 1]) < self._priority(run):
            at -= 1
        line.insert(at, run)
        self._waiting += 1
        self._lines += len(line) == 1
        self._enter(account)

    def take(self) -> T | None:
        """Give a slot to the run that starts next and return it, or None if no run may start."""
        self._advance()
        free = self._free()
        may = [each for each in self._busy.values() if each.line and self._may_start(each, free)]
        return self._take_of([*may, *self._newcomers(free, STANDINGS)])

    def take_newcomer(self, *standings: Standing) -> T | None:
        """Do as ``take``, but only for owners with one of these standings that have no run in progress."""
        self._advance()
        return self._take_of(list(self._newcomers(self._free(), standings)))

    def _take_of(self, may: Sequence[_Account[T]]) -> T | None:
        """Give a slot to the account that is served next of those that may start a run."""
        if not may:
            return None
        account = min(may, key=lambda each: each.rank)
        run = account.line.popleft()
        account.turn = next(self._turns)
        account.running += 1
        self._busy[account.owner] = account
        self._note_left_line(account)
        return run

    def set_aside(self, owner: Owner, *standings: Standing) -> bool:
        """Take the slot from a run of this owner that is in progress, for another owner that has none and waits.

        ``take_newcomer`` with the same standings then returns the run that gets it. Return False if no such owner with
        one of these standings could start a run then, or if too many runs are aside already.
        """
        self._advance()
        account = self._busy[owner]
        if not account.running or self._aside() >= self._most_aside:
            return False
        account.running, account.aside = account.running - 1, account.aside + 1
        if any(self._newcomers(self._free(), standings)):
            return True
        account.running, account.aside = account.running + 1, account.aside - 1
        return False

    def finish(self, owner: Owner, *, long: bool | None = False) -> None:
        """Note the end of a run that ``take`` returned. If its owner has one with a slot and one aside, a slot is free.

        It does not matter which of the two has ended: only their number counts. ``long`` says if the run took long;
        None if that is not known, because it has not really run.
        """
        self._advance()
        account = self._busy[owner]
        if account.running:
            account.running -= 1
        else:
            account.aside -= 1
        if long is not None:
            self._owners.note_run(owner, long=long)
        if not account.in_progress:
            del self._busy[owner]
            self._enter(account)
        self._settle(account)

    def remove(self, owner: Owner, run: T) -> bool:
        """Take a waiting run out of its line; return False if it is not in it."""
        account = self._accounts.get(owner)
        if account is None or run not in account.line:
            return False
        self._advance()
        account.line.remove(run)
        self._note_left_line(account)
        self._settle(account)
        return True

    def position(self, owner: Owner, run: T) -> int:
        """Return the position of a waiting run in the sense of ``positions``."""
        self._advance()
        own = self._accounts[owner]
        key = self._key(own, own.line.index(run))
        return sum(self._before(each, key) for each in self._accounts.values() if each.line)

    def positions(self) -> Iterator[tuple[T, int]]:
        """Yield the waiting runs in the order in which they start if each takes ``EXPECTED_SECONDS``, and nobody comes.

        The number is that of the waiting runs that start before.
        """
        self._advance()
        keys = [
            (self._key(account, index), run)
            for account in self._accounts.values()
            for index, run in enumerate(account.line)
        ]
        keys.sort(key=lambda each: each[0])
        for position, (_, run) in enumerate(keys):
            yield run, position

    def _key(self, account: _Account[T], index: int) -> _Key:
        """Return the key by which waiting runs start; those of an owner that must leave slots to others come last."""
        start = account.used + (account.in_progress + index) * EXPECTED_SECONDS
        is_last = self._must_share(account) or self._fills_long_share(account) or self._might_hold_slot(account)
        return is_last, start, index, account.turn

    def _before(self, account: _Account[T], key: _Key) -> int:
        return bisect_left(range(len(account.line)), key, key=lambda index: self._key(account, index))

    def _advance(self) -> None:
        """Charge the time since the last call to the owners with runs in progress, and move virtual time on."""
        now = self._clock()
        seconds, self._now = now - self._now, now
        running = sum(account.in_progress for account in self._busy.values())
        if running:
            competing = self._lines + sum(not account.line for account in self._busy.values())
            self._virtual += seconds * running / competing
        for account in self._busy.values():
            account.used += seconds * account.in_progress

    def _free(self) -> int:
        return self._slots - sum(account.running for account in self._busy.values())

    def _aside(self) -> int:
        return sum(account.aside for account in self._busy.values())

    def _may_start(self, account: _Account[T], free: int) -> bool:
        """Return True if the account may get one of so many free slots."""
        if free < 1 or (self._must_share(account) and free <= 1 + account.aside):
            return False
        return not self._fills_long_share(account) and not self._might_hold_slot(account)

    def _must_share(self, account: _Account[T]) -> bool:
        """Return True if the owner has a run in progress and another one is present, so that the last slot stays free.

        With a single slot, that is only so if the run in progress is aside.
        """
        if not account.in_progress or (self._slots == 1 and not account.aside):
            return False
        return self._owners.are_others_present(account.owner)

    def _fills_long_share(self, account: _Account[T]) -> bool:
        """Return True if the owner's runs take long, and such owners have as many in progress as they may have."""
        if self._slots < 2 or self.standing(account.owner) != "long":
            return False
        in_progress = sum(each.in_progress for each in self._busy.values() if self.standing(each.owner) == "long")
        return in_progress >= self._slots // 2 and self._owners.is_present("short", "new")

    def _might_hold_slot(self, account: _Account[T]) -> bool:
        """Return True if the owner's next run may take long, and enough such runs are in progress."""
        if self._slots < 2 or self.standing(account.owner) == "short" or not self._owners.is_present("short"):
            return False
        unsure = [each for each in self._busy.values() if self.standing(each.owner) != "short"]
        half, aside = self._slots // 2, self._aside()
        if aside and sum(each.in_progress for each in unsure) >= max(self._most_aside, half + 1):
            return True
        if aside < self._most_aside and not self._owners.is_present("long"):
            return False
        return sum(each.running for each in unsure) >= half

    def _enter(self, account: _Account[T]) -> None:
        """Rank an account that waits without a run in progress."""
        standing = self.standing(account.owner)
        if account.line and not account.in_progress and (account.entry is None or account.entry[2] != standing):
            account.entry = (account.rank, next(self._entries), standing, account)
            heapq.heappush(self._rankings[standing], account.entry)

    def _newcomers(self, free: int, standings: Iterable[Standing]) -> Iterator[_Account[T]]:
        """Yield of each standing the first account that waits without a run in progress, if it may start one."""
        for standing in standings:
            first = self._first_ranked(standing)
            if first and self._may_start(first, free):
                yield first

    def _first_ranked(self, standing: Standing) -> _Account[T] | None:
        """Return the first account with this standing that waits without a run in progress. Mend entries before it."""
        ranking = self._rankings[standing]
        while ranking:
            rank, _, _, account = entry = ranking[0]
            current = rank == account.rank and self.standing(account.owner) == standing
            if entry is account.entry and current and account.line and not account.in_progress:
                return account
            heapq.heappop(ranking)
            if entry is account.entry:
                account.entry = None
                self._enter(account)
        return None

    def _note_left_line(self, account: _Account[T]) -> None:
        self._waiting -= 1
        self._lines -= not account.line

    def _settle(self, account: _Account[T]) -> None:
        """Forget accounts without runs, as soon as others have used as much."""
        if not self._lines and not self._busy:
            self._accounts.clear()
            for ranking in self._rankings.values():
                ranking.clear()
            self._virtual = 0.0
        elif not account.line and not account.in_progress and account.used <= self._virtual:
            del self._accounts[account.owner]
        elif len(self._accounts) > self._many:
            self._accounts = {
                owner: each
                for owner, each in self._accounts.items()
                if each.line or each.in_progress or each.used > self._virtual
            }
            self._many = max(_FEW, 2 * len(self._accounts))
