"""The fair queue with a test clock: shares, turns, bounds, the slot reserved for others, positions."""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.engine import OwnerQueueFullError, QueueFullError
from app.engine.owners import PRESENT_SECONDS, SHORT_RUNS, STANDINGS
from app.engine.queue import EXPECTED_SECONDS, FairQueue
from bench.load import quantile
from bench.pace import processor_time
from tests.support.environment import EVERYTHING

OWNERS = ("a", "b", "c", "d", None)
SHARE = 4
LENGTH = 12
SCHEDULES = 2000 if EVERYTHING else 100


@dataclass
class Clock:
    """A clock that a test advances."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def queue_of(slots: int, clock: Callable[[], float] | None = None, aside: int = 0) -> FairQueue[str]:
    return FairQueue(slots, LENGTH, SHARE, clock or Clock(), most_aside=aside)


def put(queue: FairQueue[str], *runs: str) -> list[int]:
    """Queue these runs, owned by their first letters, and return the positions that they got at once."""
    positions = []
    for run in runs:
        queue.put(run[0], run)
        positions.append(queue.position(run[0], run))
    return positions


def taken(queue: FairQueue[str]) -> list[str]:
    """Return the runs that start now."""
    found = []
    while run := queue.take():
        found.append(run)
    return found


def one_by_one(queue: FairQueue[str]) -> list[str]:
    """Return the order in which the runs start one after the other."""
    found = []
    while run := queue.take():
        found.append(run)
        queue.finish(run[0])
    return found


def test_owners_take_turns_and_each_line_keeps_its_order() -> None:
    queue = queue_of(1)
    put(queue, "a1", "a2", "a3", "b1", "c1", "b2")
    assert one_by_one(queue) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def serve(queue: FairQueue[str], clock: Clock, seconds: float) -> str | None:
    """Start the next run, let it take so long, and return it."""
    run = queue.take()
    if run is not None:
        clock.now += seconds
        queue.finish(run[0])
    return run


def test_a_long_run_counts_for_what_it_costs() -> None:
    clock = Clock()
    queue = queue_of(1, clock)
    put(queue, "a1", "a2", "b1", "b2", "b3", "b4")
    assert serve(queue, clock, 3.5) == "a1"
    assert [serve(queue, clock, 1.0) for _ in range(5)] == ["b1", "b2", "b3", "b4", "a2"]


def test_a_run_in_progress_counts_already() -> None:
    clock = Clock()
    queue = queue_of(3, clock)
    put(queue, "a1", "b1", "c1", "d1")
    assert taken(queue) == ["a1", "b1", "c1"]
    clock.now += 4
    assert queue.remove("d", "d1")
    for owner in "bc":
        queue.finish(owner, long=None)
    put(queue, "a2", "e1")
    assert taken(queue) == ["e1"], "a has used 4 s, and the share of each of the four was 3 s"


def test_an_owner_gets_no_credit_for_its_absence() -> None:
    clock = Clock()
    queue = queue_of(1, clock)
    put(queue, "a1", "a2", "a3", "a4")
    for expected in ("a1", "a2"):
        assert serve(queue, clock, 10.0) == expected
    put(queue, "b1", "b2", "b3", "b4")
    assert [serve(queue, clock, 1.0) for _ in range(6)] == ["a3", "b1", "a4", "b2", "b3", "b4"]


def test_everything_is_forgiven_when_nothing_waits_or_runs() -> None:
    clock = Clock()
    queue = queue_of(1, clock)
    put(queue, "a1", "b1")
    for expected in ("a1", "b1"):
        assert serve(queue, clock, 60.0 if expected == "a1" else 1.0) == expected
    put(queue, "a2", "b2")
    assert one_by_one(queue) == ["a2", "b2"]


def test_a_stream_of_newcomers_does_not_starve_an_owner_that_has_used_much() -> None:
    clock = Clock()
    queue: FairQueue[tuple[str, int]] = FairQueue(1, LENGTH, SHARE, clock)
    for owner in ("greedy", "other"):
        queue.put(owner, (owner, 0))
    assert queue.take() == ("greedy", 0)
    clock.now += 20
    queue.put("greedy", ("greedy", 1))
    queue.finish("greedy")
    order = []
    for number in range(1000):
        queue.put(f"x{number}", (f"x{number}", 0))
        run = queue.take()
        assert run
        order.append(run)
        clock.now += 1
        queue.finish(run[0])
    assert 10 <= order.index(("greedy", 1)) <= 40, (
        "two or three compete, so virtual time makes up for 20 s in 20 to 40 s"
    )
    assert len(queue._accounts) < 100, "owners that are gone are forgotten"


@settings(max_examples=SCHEDULES, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(1, 20), min_size=1, max_size=8), min_size=2),
)
def test_owners_that_wait_all_the_time_use_the_same_but_for_one_run(seconds: dict[str, list[int]]) -> None:
    clock = Clock()
    queue: FairQueue[tuple[str, int]] = FairQueue(1, 99, 99, clock)
    for owner, runs in seconds.items():
        for number in range(len(runs)):
            queue.put(owner, (owner, number))
    used = Counter(dict.fromkeys(seconds, 0))
    waiting = {owner: len(runs) for owner, runs in seconds.items()}
    while run := queue.take():
        owner, number = run
        clock.now += seconds[owner][number]
        queue.finish(owner)
        used[owner] += seconds[owner][number]
        waiting[owner] -= 1
        rivals = [used[each] for each, left in waiting.items() if left]
        assert not rivals or max(rivals) - min(rivals) <= max(map(max, seconds.values()))
    assert not any(waiting.values())


def test_the_two_ways_to_a_position_agree() -> None:
    clock = Clock()
    queue = queue_of(2, clock)
    put(queue, "a1", "a2", "b1", "b2", "c1")
    taken(queue)
    clock.now += 3
    put(queue, "d1", "c2", "d2", "a3")
    assert dict(queue.positions()) == {run: queue.position(run[0], run) for run, _ in queue.positions()}


def test_a_newcomer_waits_for_one_run_of_each_owner_at_most() -> None:
    clock = Clock()
    queue = queue_of(1, clock)
    put(queue, "a1", "a2", "a3", "a4")
    assert taken(queue) == ["a1"]
    assert put(queue, "b1", "c1") == [0, 1], "a was served already"
    clock.now += 1
    queue.finish("a")
    assert one_by_one(queue)[:3] == ["b1", "c1", "a2"]


def test_the_last_slot_is_left_to_other_present_owners() -> None:
    clock = Clock()
    queue = queue_of(3, clock)
    queue.note_presence("b")
    put(queue, "a1", "a2", "a3", "a4")
    assert taken(queue) == ["a1", "a2"]
    put(queue, "b1", "b2")
    assert taken(queue) == ["b1"]
    queue.finish("b")
    assert taken(queue) == ["b2"], "b has nothing else in progress, and a has"
    queue.finish("b")
    clock.now += PRESENT_SECONDS - 1
    assert taken(queue) == []
    clock.now += 2
    assert taken(queue) == ["a3"], "b has been away for long enough"


def test_a_lone_owner_gets_every_slot() -> None:
    queue = queue_of(2)
    queue.note_presence("a")
    put(queue, "a1", "a2", "a3")
    assert taken(queue) == ["a1", "a2"]


def test_two_owners_with_a_run_each_leave_the_last_slot_to_a_third() -> None:
    queue = queue_of(3)
    put(queue, "a1", "b1", "a2", "b2")
    assert taken(queue) == ["a1", "b1"]
    put(queue, "c1")
    assert taken(queue) == ["c1"]


def test_one_slot_is_never_left_empty() -> None:
    queue = queue_of(1)
    queue.note_presence("b")
    put(queue, "a1", "a2")
    assert one_by_one(queue) == ["a1", "a2"]


def with_standings(queue: FairQueue[str], short: str = "", long: str = "") -> FairQueue[str]:
    """Let owners, one letter each, have a short or a long run."""
    for owner in (*short, *long):
        queue.put(owner, f"{owner}0")
        assert queue.take() == f"{owner}0"
        queue.finish(owner, long=owner in long)
    return queue


def test_owners_with_long_runs_share_half_of_the_slots() -> None:
    queue = with_standings(queue_of(4), short="h", long="abc")
    put(queue, "a1", "b1", "c1")
    assert taken(queue) == ["a1", "b1"]
    put(queue, "h1")
    assert taken(queue) == ["h1"]
    queue.finish("a", long=True)
    assert taken(queue) == ["c1"]


def test_owners_with_long_runs_get_every_slot_when_nobody_else_is_present() -> None:
    clock = Clock()
    queue = with_standings(queue_of(2, clock), short="h", long="ab")
    put(queue, "a1", "b1")
    assert taken(queue) == ["a1"]
    clock.now += PRESENT_SECONDS + 1
    assert taken(queue) == ["b1"]


def test_a_run_aside_counts_among_the_long_ones() -> None:
    queue = with_standings(queue_of(2, aside=1), short="hi", long="ab")
    put(queue, "a1", "h1", "i1", "b1")
    assert taken(queue) == ["a1", "h1"]
    assert queue.set_aside("a", *STANDINGS)
    assert taken(queue) == ["i1"]
    queue.finish("h")
    assert taken(queue) == []
    queue.finish("a", long=True)
    assert taken(queue) == ["b1"]


def test_a_run_is_not_set_aside_for_one_that_may_not_start() -> None:
    queue = with_standings(queue_of(2, aside=1), short="h", long="ab")
    put(queue, "a1", "b1")
    assert taken(queue) == ["a1"]
    assert not queue.set_aside("a", *STANDINGS)
    put(queue, "h1")
    assert taken(queue) == ["h1"]


def test_owners_of_whom_nothing_is_known_get_half_of_the_slots_that_could_not_be_taken_back() -> None:
    queue = with_standings(queue_of(2), short="h")
    put(queue, "x1", "y1")
    assert taken(queue) == ["x1"], "x may take 20 s, and then y, too"
    put(queue, "h1")
    assert taken(queue) == ["h1"]
    queue.finish("x")
    assert taken(queue) == ["y1"]


def test_owners_of_whom_nothing_is_known_get_every_slot_that_could_be_taken_back() -> None:
    queue = with_standings(queue_of(2, aside=1), short="h")
    put(queue, "x1", "y1", "h1", "z1")
    assert taken(queue) == ["x1", "y1"]
    assert not queue.set_aside("x", "long")
    assert queue.set_aside("x", "new", "short")
    assert taken(queue) == ["h1"], "and not z1, although it waits as long"


def test_a_slot_that_was_freed_for_some_standings_goes_to_none_other() -> None:
    queue = with_standings(queue_of(4, aside=1), short="hijk")
    put(queue, "x1", "h1", "i1", "j1", "y1", "k1")
    assert taken(queue) == ["x1", "h1", "i1", "j1"]
    assert queue.set_aside("x", "short")
    assert queue.take_newcomer("short") == "k1", "although y has waited for longer"
    assert taken(queue) == []


def test_owners_of_whom_nothing_is_known_get_half_of_the_slots_while_one_with_long_runs_is_present() -> None:
    clock = Clock()
    queue = with_standings(queue_of(4, clock, aside=1), short="h", long="a")
    put(queue, "w1", "x1", "y1", "z1")
    assert taken(queue) == ["w1", "x1"]
    clock.now += PRESENT_SECONDS + 1
    queue.note_presence("h")
    assert taken(queue) == ["y1", "z1"]


def test_owners_of_whom_nothing_is_known_have_no_more_runs_in_progress_than_may_be_aside() -> None:
    clock = Clock()
    queue = with_standings(queue_of(2, clock, aside=3), short="hi")
    put(queue, "w1", "x1", "y1", "z1")
    assert taken(queue) == ["w1", "x1"]
    assert queue.set_aside("w", "new")
    assert taken(queue) == ["y1"]
    assert not queue.set_aside("x", "new"), "z might not be set aside after it"
    put(queue, "h1", "i1")
    assert [queue.set_aside(each, "short") for each in "xy"] == [True, True]
    assert taken(queue) == ["h1", "i1"]
    queue.finish("h")
    assert taken(queue) == [], "z leaves both slots to owners whose runs are short"
    clock.now += PRESENT_SECONDS + 1
    queue.note_presence("x")
    assert taken(queue) == ["z1"], "nobody else needs the slot"


def test_one_run_aside_leaves_newcomers_half_of_the_slots() -> None:
    queue = with_standings(queue_of(2, aside=1), short="h")
    put(queue, "w1", "x1", "h1", "y1")
    assert taken(queue) == ["w1", "x1"]
    assert queue.set_aside("w", "short")
    assert taken(queue) == ["h1"]
    queue.finish("x")
    queue.finish("h")
    assert taken(queue) == ["y1"], "although w might go on for long"


def test_an_owner_that_gets_another_standing_while_it_waits_is_found() -> None:
    queue = with_standings(queue_of(2), short="h")
    put(queue, "x1", "x2", "y1", "h1")
    assert taken(queue) == ["x1", "h1"]
    put(queue, "z1")
    queue.finish("x")
    assert taken(queue) == ["y1"], "nothing is known of y, so z has to leave the other slot free"
    queue.finish("h")
    assert taken(queue) == ["x2"], "x has proved that its runs are short, and z has not"


def test_the_bounds_count_what_waits_and_what_is_on_hold_but_not_what_runs() -> None:
    queue = queue_of(2)
    put(queue, "a1", "a2")
    assert taken(queue) == ["a1", "a2"]
    queue.hold("a")
    put(queue, "a3", "a4", "a5")
    with pytest.raises(OwnerQueueFullError):
        queue.check("a")
    queue.check("b")
    queue.release("a")
    queue.check("a")
    for _ in range(LENGTH - 3):
        queue.check(None)
        queue.put(None, "n")
    for owner in ("a", "b", None):
        with pytest.raises(QueueFullError):
            queue.check(owner)


def test_an_owners_full_line_is_reported_before_a_full_queue() -> None:
    queue = queue_of(1)
    put(queue, *(f"a{number}" for number in range(SHARE)))
    for _ in range(LENGTH - SHARE):
        queue.put(None, "n")
    with pytest.raises(OwnerQueueFullError):
        queue.check("a")


def test_a_run_leaves_its_line_once() -> None:
    queue = queue_of(1)
    put(queue, "a1", "a2", "b1", "a3")
    assert queue.remove("a", "a2")
    assert not queue.remove("a", "a2")
    assert not queue.remove("c", "c1")
    assert queue.remove("b", "b1")
    assert one_by_one(queue) == ["a1", "a3"]
    assert queue.waiting == 0


def test_of_one_owners_runs_those_of_a_higher_priority_start_first() -> None:
    queue = FairQueue[str](1, LENGTH, SHARE, Clock(), priority=lambda run: int(run[1:]) // 10)
    assert put(queue, "a1", "a2", "b1") == [0, 1, 1]
    assert put(queue, "b11", "a11", "a12") == [1, 0, 2]
    assert dict(queue.positions()) == {"a11": 0, "b11": 1, "a12": 2, "b1": 3, "a1": 4, "a2": 5}
    assert one_by_one(queue) == ["a11", "b11", "a12", "b1", "a1", "a2"], "owners still take turns"


def test_positions() -> None:
    queue = queue_of(2)
    assert put(queue, "a1", "b1", "a2", "a3", "c1", "b2") == [0, 1, 2, 3, 2, 4]
    assert dict(queue.positions()) == {"a1": 0, "b1": 1, "c1": 2, "a2": 3, "b2": 4, "a3": 5}
    assert taken(queue) == ["a1", "b1"]
    assert dict(queue.positions()) == {"c1": 0, "a2": 1, "b2": 2, "a3": 3}


def test_positions_of_one_owner_are_a_line() -> None:
    queue = queue_of(2)
    put(queue, "a1", "a2", "a3", "a4", "a5")
    taken(queue)
    assert dict(queue.positions()) == {"a3": 0, "a4": 1, "a5": 2}


def test_runs_that_might_keep_their_slots_come_last() -> None:
    queue = with_standings(queue_of(4), short="hij")
    put(queue, "w1", "x1", "y1", "h1", "i1")
    assert taken(queue) == ["w1", "x1", "h1", "i1"]
    put(queue, "j1")
    assert dict(queue.positions()) == {"j1": 0, "y1": 1}
    queue.finish("h")
    assert taken(queue) == ["j1"]


@pytest.mark.parametrize("owners", [1, 5, 20_000])
def test_the_work_grows_with_the_number_of_runs_and_not_with_its_square(owners: int) -> None:
    count = 20_000
    queue = FairQueue[int](2, count, count)
    with processor_time() as cost:
        for run in range(count):
            queue.check(str(run % owners))
            queue.put(str(run % owners), run)
        assert sum(1 for _ in queue.positions()) == count
        for run in range(count // 2):
            assert queue.remove(str(run % owners), run)
        for _ in range(count // 2):
            taken_now = queue.take()
            assert taken_now is not None
            queue.finish(str(taken_now % owners))
    assert cost.seconds < 5, "a tenth of a second on two processors of 2026"


SECONDS, ENDLESS = 0.2, 20.0
"""The length of an honest run, and of one that only its time limit ends."""


def waits(greedy: int, slots: int = 2) -> list[float]:
    """Simulate ten honest seats beside a greedy one that posts so many endless runs again and again.

    Return the sorted seconds from each honest post to the end of its run. The honest ones are there first.
    """
    clock, rng = Clock(0.0), random.Random(1)
    queue: FairQueue[tuple[str, float]] = FairQueue(slots, 200, 8, clock)
    soon = [(rng.uniform(0, 10), str(seat), "post", 0.0) for seat in range(10)]
    soon += [(10.0, "greedy", "post", 0.0)] * greedy
    heapq.heapify(soon)
    found = []
    while soon and clock.now < 600:
        clock.now, owner, what, posted = heapq.heappop(soon)
        if what == "end":
            queue.finish(owner)
            if owner != "greedy":
                found.append(clock.now - posted)
            pause = 0.0 if owner == "greedy" else rng.uniform(5, 15)
            heapq.heappush(soon, (clock.now + pause, owner, "post", 0.0))
        else:
            try:
                queue.check(owner)
            except OwnerQueueFullError:
                heapq.heappush(soon, (clock.now + 0.5, owner, "post", 0.0))
            else:
                queue.put(owner, (owner, clock.now))
        while started := queue.take():
            length = ENDLESS if started[0] == "greedy" else SECONDS
            heapq.heappush(soon, (clock.now + length, started[0], "end", started[1]))
    return sorted(found)


@pytest.mark.parametrize("slots", [2, 4])
def test_a_greedy_seat_at_most_doubles_what_honest_ones_wait(slots: int) -> None:
    alone, beside = waits(0, slots), waits(50, slots)
    assert len(alone) > 500
    assert quantile(beside, 0.95) <= 2 * quantile(alone, 0.95)
    assert beside[-1] < 2 * ENDLESS / 10, "nobody waits for an endless run"


@dataclass
class Played:
    """A queue beside a simple model of its description.

    ``running`` are the runs in progress, ``aside`` counts those without a slot, and ``missing`` has how many short runs
    each owner needs until its runs are expected to be short.
    """

    slots: int
    most_aside: int = 0
    clock: Clock = field(default_factory=Clock)
    lines: dict[str | None, list[int]] = field(default_factory=dict)
    held: Counter[str | None] = field(default_factory=Counter)
    running: list[tuple[str | None, int]] = field(default_factory=list)
    aside: Counter[str | None] = field(default_factory=Counter)
    missing: dict[str | None, int] = field(default_factory=dict)
    seen: dict[str | None, float] = field(default_factory=dict)
    count: int = 0

    def __post_init__(self) -> None:
        self.queue = FairQueue[int](self.slots, LENGTH, SHARE, self.clock, most_aside=self.most_aside)

    def waiting(self) -> int:
        return sum(map(len, self.lines.values()))

    def note_presence(self, owner: str | None) -> None:
        self.seen[owner] = self.clock.now
        self.queue.note_presence(owner)

    def may_wait(self, owner: str | None) -> bool:
        own = len(self.lines.get(owner, ())) + self.held[owner]
        if owner is not None and own >= SHARE:
            expected: type[QueueFullError] | None = OwnerQueueFullError
        else:
            expected = QueueFullError if self.waiting() + self.held.total() >= LENGTH else None
        if expected is None:
            self.queue.check(owner)
        else:
            with pytest.raises(QueueFullError) as refused:
                self.queue.check(owner)
            assert refused.type is expected
        return expected is None

    def put(self, owner: str | None) -> None:
        if self.may_wait(owner):
            self._line_up(owner)

    def _line_up(self, owner: str | None) -> None:
        self.count += 1
        self.seen[owner] = self.clock.now
        self.lines.setdefault(owner, []).append(self.count)
        self.queue.put(owner, self.count)
        assert dict(self.queue.positions())[self.count] == self.queue.position(owner, self.count)

    def hold(self, owner: str | None) -> None:
        if self.may_wait(owner):
            self.held[owner] += 1
            self.seen[owner] = self.clock.now
            self.queue.hold(owner)

    def release(self, number: int) -> None:
        if owners := list(self.held.elements()):
            owner = owners[number % len(owners)]
            self.held[owner] -= 1
            self.queue.release(owner)
            self._line_up(owner)

    def cancel(self, number: int) -> None:
        if runs := [(owner, run) for owner, line in self.lines.items() for run in line]:
            owner, run = runs[number % len(runs)]
            assert self.queue.remove(owner, run)
            assert not self.queue.remove(owner, run)
            self._left(owner, run)

    def finish(self, number: int) -> None:
        """End a run; every third one was long."""
        if self.running:
            owner, _ = self.running.pop(number % len(self.running))
            if self.in_progress(owner) < self.aside[owner]:
                self.aside[owner] -= 1
            long = number % 3 == 2
            self.missing[owner] = SHORT_RUNS if long else max(0, self.missing.get(owner, 1) - 1)
            self.queue.finish(owner, long=long)

    def note_long(self, number: int) -> None:
        if self.running:
            owner, _ = self.running[number % len(self.running)]
            self.missing[owner] = SHORT_RUNS
            self.queue.note_long(owner)

    def set_aside(self, number: int) -> None:
        if self.running:
            owner, _ = self.running[number % len(self.running)]
            possible = self.aside[owner] < self.in_progress(owner) and self.aside.total() < self.most_aside
            self.aside[owner] += 1
            others = [each for each in self.lines if not self.in_progress(each)]
            possible = possible and any(map(self.may_start, others))
            assert self.queue.set_aside(owner, *STANDINGS) is possible
            self.aside[owner] -= not possible

    def in_progress(self, owner: str | None) -> int:
        return sum(one == owner for one, _ in self.running)

    def _left(self, owner: str | None, run: int) -> None:
        self.lines[owner].remove(run)
        if not self.lines[owner]:
            del self.lines[owner]

    def is_present(self, wanted: Callable[[str | None], bool]) -> bool:
        since = self.clock.now - PRESENT_SECONDS
        return any(at > since and wanted(owner) for owner, at in self.seen.items())

    def is_long(self, owner: str | None) -> bool:
        return bool(self.missing.get(owner))

    def is_short(self, owner: str | None) -> bool:
        return self.missing.get(owner) == 0

    @property
    def free(self) -> int:
        return self.slots - len(self.running) + self.aside.total()

    def may_start(self, owner: str | None) -> bool:
        """Return True if no rule keeps the owner from getting a slot."""
        progress, aside = self.in_progress(owner), self.aside[owner]
        shares = progress and (self.slots > 1 or aside) and self.is_present(lambda other: other != owner)
        if self.free < 1 or (shares and self.free <= 1 + aside):
            return False
        if self.slots == 1 or self.is_short(owner):
            return True
        long = sum(self.is_long(one) for one, _ in self.running)
        others_long = self.is_present(lambda other: not self.is_long(other))
        if self.is_long(owner) and others_long and long >= self.slots // 2:
            return False
        if not self.is_present(self.is_short):
            return True
        uncertain = sum(not self.is_short(one) for one, _ in self.running)
        if self.aside.total() and uncertain >= max(self.most_aside, self.slots // 2 + 1):
            return False
        uncertain -= sum(count for one, count in self.aside.items() if not self.is_short(one))
        wary = self.aside.total() == self.most_aside or self.is_present(self.is_long)
        return not (wary and uncertain >= self.slots // 2)

    def start(self) -> int | None:
        """Start one run and check every promise about it."""
        told = dict(self.queue.positions())
        assert len(told) == self.queue.waiting == self.waiting()
        may = {owner for owner in self.lines if self.may_start(owner)}
        run = self.queue.take()
        if run is None:
            assert not may, "no slot is idle while a run waits that no rule keeps from it"
            return None
        owner = next(owner for owner, line in self.lines.items() if run in line)
        assert owner in may
        assert self.lines[owner][0] == run, "the order of a line"
        self._left(owner, run)
        self.running.append((owner, run))
        return run


STEPS = st.one_of(
    st.tuples(st.sampled_from(("put", "put", "put", "hold", "note_presence")), st.sampled_from(OWNERS)),
    st.tuples(st.sampled_from(("cancel", "finish", "finish", "release", "note_long", "set_aside")), st.integers(0, 50)),
    st.tuples(st.just("wait"), st.sampled_from((1.0, PRESENT_SECONDS - 1, PRESENT_SECONDS + 1))),
    st.just(("start", None)),
)


@settings(max_examples=SCHEDULES, deadline=None)
@given(st.integers(1, 4), st.integers(0, 3), st.lists(STEPS, max_size=60))
@example(2, 0, [("put", "a"), ("put", "c"), ("start", None), ("put", "c"), ("put", "c")])
def test_every_schedule_keeps_the_rules_and_serves_every_owner(
    slots: int, aside: int, steps: list[tuple[str, object]]
) -> None:
    played = Played(slots, aside)
    for step, what in steps:
        if step == "wait":
            assert isinstance(what, float)
            played.clock.now += what
        elif step == "start":
            while played.start() is not None:
                pass
        else:
            getattr(played, step)(what)
    while played.held.total():
        played.release(0)
    # Runs in progress count as well, because an owner may have to wait for its own run to end.
    for _ in range(played.waiting() + len(played.running) + 1):
        while played.start() is not None:
            pass
        played.finish(0)
    assert not played.lines, "no starvation: as many ends as runs are enough, however short the time"
    while played.running:
        played.finish(0)
    queue = played.queue
    assert (queue.waiting, queue._lines) == (0, 0)
    assert not any((queue._accounts, queue._busy, queue._held))


@given(st.lists(st.sampled_from(OWNERS), max_size=20), st.lists(st.integers(0, 50), max_size=8))
def test_a_position_is_exact_for_one_slot_and_runs_of_the_expected_length(
    owners: list[str | None], cancels: list[int]
) -> None:
    played = Played(1)
    for owner in owners[: len(owners) // 2]:
        played.put(owner)
    played.start()
    for owner in owners[len(owners) // 2 :]:
        played.put(owner)
    for number in cancels:
        played.cancel(number)
    told = dict(played.queue.positions())
    started: list[int] = []
    for _ in range(len(told)):
        played.clock.now += EXPECTED_SECONDS
        played.finish(0)
        run = played.start()
        assert run
        started.append(run)
    assert [told[run] for run in started] == list(range(len(told)))
