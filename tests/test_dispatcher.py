"""When accepted runs start, with a test clock: long runs make room, and their owners share few slots."""

import heapq
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest

from app.course import Lesson
from app.engine import OwnerQueueFullError
from app.engine.dispatcher import ASIDE_SECONDS, TICK, Dispatcher
from app.engine.log import Run
from app.engine.owners import SHORT_RUNS
from app.protocol.command import parse
from app.protocol.events import Finished, Started
from app.settings import Settings
from bench.load import quantile
from tests.support.jobs import job

pytestmark = pytest.mark.anyio
ENDLESS = 20.0
"""The seconds of a run that only its timeout ends."""
STARTED = Started(id=1, toolchain="1.96", argv=("cargo", "build"), isolation="namespaces")


@dataclass
class World:
    """A dispatcher with a clock, and the runs that it has started."""

    slots: int
    settings: Settings
    new: Callable[[str | None], Run]
    aside: int = 1
    now: float = 0.0
    started: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        narrow = self.settings.model_copy(update={"max_runs": self.slots})
        self.dispatcher = Dispatcher(narrow, self._start, self.aside, lambda: self.now)

    def _start(self, run: Run) -> None:
        self.started.append(str(run.job.queue_owner))
        run.emit(STARTED)

    def put(self, owner: str | None) -> Run:
        run = self.new(owner)
        self.dispatcher.enqueue(run)
        return run

    def free(self, run: Run, status: Literal["ok", "cancelled"] = "ok") -> None:
        run.emit(Finished(id=2, status=status, exit_code=None, seconds=0.1))
        self.dispatcher.free(run)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.dispatcher.tick()


@pytest.fixture
def new(lessons: Mapping[str, Lesson]) -> Callable[[str | None], Run]:
    spec = job(lessons["hello-std"], {}, parse("cargo build"), "1.99")
    numbers = iter(range(100_000))
    return lambda owner: Run(spec.model_copy(update={"run_id": f"{next(numbers)}", "queue_owner": owner}))


@pytest.fixture
def world(new: Callable[[str | None], Run], shipped: Settings) -> Callable[[int], World]:
    return lambda slots: World(slots, shipped, new)


async def test_a_long_run_makes_room_for_an_owner_without_a_run(world: Callable[[int], World]) -> None:
    two = world(2)
    long = two.put("greedy")
    one = two.put("one")
    two.put("other")
    two.wait(ASIDE_SECONDS / 2)
    assert two.started == ["greedy", "one"]
    two.wait(ASIDE_SECONDS / 2)
    assert two.started == ["greedy", "one", "other"]
    assert [run.yields for run in (long, one)] == [True, False]
    two.put("third")
    two.wait(2 * ASIDE_SECONDS)
    assert two.started == ["greedy", "one", "other"], "only one run is in progress without a slot"
    two.free(long)
    assert two.started == ["greedy", "one", "other", "third"]


async def test_elsewhere_a_long_run_keeps_its_slot(new: Callable[[str | None], Run], shipped: Settings) -> None:
    """The workers of the engine on NATS have no place for a further run."""
    two = World(2, shipped, new, aside=0)
    for owner in ("greedy", "one", "other"):
        two.put(owner)
    two.wait(10 * ASIDE_SECONDS)
    assert two.started == ["greedy", "one"]


async def test_a_long_run_keeps_its_slot_while_nobody_needs_it(world: Callable[[int], World]) -> None:
    one = world(1)
    long = one.put("greedy")
    one.put("greedy")
    one.wait(10 * ASIDE_SECONDS)
    assert one.started == ["greedy"]
    one.put("other")
    assert one.started == ["greedy", "other"]
    one.wait(ASIDE_SECONDS / 2)
    one.free(long)
    assert one.started == ["greedy", "other"], "the other's run has the only slot"
    one.wait(ASIDE_SECONDS / 2)
    assert one.started == ["greedy", "other", "greedy"], "by now it is long itself"


@pytest.mark.parametrize("slots", [1, 2, 4])
async def test_an_owner_with_a_run_aside_has_no_advantage(
    new: Callable[[str | None], Run], shipped: Settings, slots: int
) -> None:
    some = World(slots, shipped, new, aside=slots)
    some.put("greedy")
    others = [some.put(f"{number}") for number in range(slots)]
    some.wait(ASIDE_SECONDS)
    assert len(some.started) == slots + 1
    for _ in range(slots):
        some.put("greedy")
    for run in others:
        some.free(run)
    assert some.started.count("greedy") == max(1, slots - 1), "one slot is left free, and one counts for the run aside"


async def test_an_owner_whose_run_was_long_gets_half_of_the_slots_while_others_are_present(
    world: Callable[[int], World], shipped: Settings
) -> None:
    four = world(4)
    four.put("honest")
    long = [four.put("endless"), four.put("endless")]
    four.wait(shipped.boot_seconds + 2 * ASIDE_SECONDS)
    four.put("endless")
    assert four.started.count("endless") == 2
    four.free(long[0])
    assert four.started.count("endless") == 3


async def test_a_run_of_an_owner_with_long_ones_makes_room_at_once(world: Callable[[int], World]) -> None:
    two = world(2)
    long = two.put("endless")
    two.wait(ENDLESS)
    two.free(long)
    runs = [two.put(owner) for owner in ("endless", "one", "other")]
    assert two.started == ["endless", "endless", "one", "other"]
    assert [run.yields for run in runs] == [True, False, False]


async def test_a_run_yields_as_another_engines_queue_has_decided(world: Callable[[int], World]) -> None:
    """A worker knows no owners, so its own queue must not take all runs for long after one of them."""
    two = world(2)
    two.dispatcher.queue.note_long("everyone")
    for told in (False, True):
        run = two.new("everyone")
        run.told_to_yield = told
        two.dispatcher.enqueue(run)
        assert run.yields is told
    assert two.dispatcher.queue.standing("everyone") == "long"


async def test_a_long_run_without_an_owner_says_nothing_about_other_runs_without_one(
    world: Callable[[int], World],
) -> None:
    """All runs of a worker are without an owner, because the web's queue has decided that they are next."""
    two = world(2)
    two.put(None)
    two.wait(ENDLESS)
    assert not two.put(None).yields


async def test_a_run_of_a_new_owner_makes_room_at_once_for_one_with_short_runs(world: Callable[[int], World]) -> None:
    two = world(2)
    two.free(two.put("honest"))
    for owner in ("new", "newer", "newest", "honest"):
        two.put(owner)
    assert two.started == ["honest", "new", "newer", "honest"], "and not for the newest"


async def test_a_run_of_a_new_owner_does_not_make_room_for_another_new_one(world: Callable[[int], World]) -> None:
    four = world(4)
    honest = [f"honest {number}" for number in range(4)]
    for owner in honest:
        four.free(four.put(owner))
    for owner in ("new", *honest[:3], "newer", honest[3]):
        four.put(owner)
    assert four.started[4:] == ["new", *honest], "although the newer one has waited for longer"


async def test_a_program_that_a_lesson_asks_for_does_not_count_as_long(
    world: Callable[[int], World], shipped: Settings
) -> None:
    two = world(2)
    run = two.put("one")
    two.wait(shipped.boot_seconds + 1)
    two.free(run)
    assert two.dispatcher.queue.standing("one") == "short"
    run = two.put("one")
    two.wait(shipped.boot_seconds + 10)
    assert two.dispatcher.queue.standing("one") == "long", "also before it has ended"


async def test_a_known_answer_says_nothing_about_an_owners_other_runs(world: Callable[[int], World]) -> None:
    two = world(2)
    long = two.put("endless")
    two.wait(ENDLESS)
    two.free(long)
    for _ in range(2 * SHORT_RUNS):
        run = two.put("endless")
        run.log = [STARTED.model_copy(update={"age": 60})]
        two.free(run)
    assert two.dispatcher.queue.standing("endless") == "long"
    for _ in range(SHORT_RUNS):
        two.free(two.put("endless"))
    assert two.dispatcher.queue.standing("endless") == "short"


async def test_a_cancelled_run_was_not_short(world: Callable[[int], World]) -> None:
    two = world(2)
    two.free(two.put("new"), "cancelled")
    assert two.dispatcher.queue.standing("new") == "new"
    long = two.put("endless")
    two.wait(ENDLESS)
    two.free(long, "cancelled")
    for _ in range(SHORT_RUNS):
        two.free(two.put("endless"), "cancelled")
    assert two.dispatcher.queue.standing("endless") == "long"


async def test_a_run_that_never_started_says_nothing_about_an_owners_other_runs(world: Callable[[int], World]) -> None:
    two = world(2)
    run = two.put("new")
    run.log = []
    two.free(run)
    assert two.dispatcher.queue.standing("new") == "new"


async def test_a_run_whose_worker_was_lost_says_nothing_about_an_owners_other_runs(
    world: Callable[[int], World],
) -> None:
    two = world(2)
    run = two.put("new")
    two.now += ENDLESS
    two.dispatcher.free(run)
    assert two.dispatcher.queue.standing("new") == "new"


async def test_a_run_without_processes_counts_as_short_before_its_log_has_ended(world: Callable[[int], World]) -> None:
    one = world(1)
    run = one.put("honest")
    one.put("next")
    run.log = []  # elsewhere, even the start may be heard of after the end of the processes
    one.dispatcher.free(run, executed=True)
    assert one.started == ["honest", "next"]
    assert one.dispatcher.queue.standing("honest") == "short"


async def test_a_run_that_begins_again_is_measured_anew(world: Callable[[int], World], shipped: Settings) -> None:
    two = world(2)
    run, other = two.put("new"), two.put("other")
    for _ in range(3):
        two.wait(shipped.boot_seconds)
        two.dispatcher.begin_again(run)
    assert [two.dispatcher.queue.standing(owner) for owner in ("new", "other")] == ["new", "long"]
    two.free(run)
    assert two.dispatcher.queue.standing("new") == "short"
    two.dispatcher.begin_again(run)
    two.free(other)


def waits(world: World, hostile: Sequence[str], think: float, seconds: float) -> list[float]:
    """Simulate ten honest seats that think for so long. Each of ``hostile`` posts one endless run after the other.

    Return the sorted seconds from each honest post to the end of its run, which takes ``seconds``. The honest ones are
    there first.
    """
    rng = random.Random(1)
    ended: list[tuple[float, int, Run]] = []
    soon = [(rng.uniform(0, think), f"{seat}") for seat in range(10)] + [(2 * think, owner) for owner in hostile]
    heapq.heapify(soon)
    posted: dict[Run, float] = {}
    found: list[float] = []
    known: list[Run] = []

    def begin(run: Run) -> None:
        length = ENDLESS if run.job.queue_owner in hostile else seconds
        known.append(run)
        run.emit(STARTED)
        heapq.heappush(ended, (world.now + length, len(known), run))

    world.dispatcher._start = begin
    ticked = 0.0
    while world.now < 600:
        world.now = min(soon[0][0] if soon else math.inf, ended[0][0] if ended else math.inf, ticked + TICK)
        if world.now == ticked + TICK:
            ticked = world.now
            world.dispatcher.tick()
        elif ended and world.now == ended[0][0]:
            run = heapq.heappop(ended)[2]
            world.free(run)
            owner = str(run.job.queue_owner)
            if owner not in hostile:
                found.append(world.now - posted[run])
            pause = 0.0 if owner in hostile else rng.uniform(0.5, 1.5) * think
            heapq.heappush(soon, (world.now + pause, owner))
        else:
            owner = heapq.heappop(soon)[1]
            try:
                world.dispatcher.queue.check(owner)
            except OwnerQueueFullError:
                heapq.heappush(soon, (world.now + 0.5, owner))
            else:
                run = world.new(owner)
                posted[run] = world.now
                world.dispatcher.enqueue(run)
    return sorted(found)


@pytest.mark.parametrize("slots", [2, 4])
async def test_a_greedy_seat_at_most_doubles_what_honest_ones_wait_who_hardly_think(
    world: Callable[[int], World], slots: int
) -> None:
    alone, beside = (waits(world(slots), hostile, 3.0, 0.1 * slots) for hostile in ([], 50 * ["greedy"]))
    assert len(alone) > 1000
    assert quantile(beside, 0.95) <= 2 * quantile(alone, 0.95)


@pytest.mark.parametrize("slots", [2, 4])
async def test_ten_seats_with_endless_runs_hardly_delay_honest_ones(world: Callable[[int], World], slots: int) -> None:
    seats = [f"hostile {number}" for number in range(10)]
    alone, beside = (waits(world(slots), hostile, 3.0, 0.1 * slots) for hostile in ([], 2 * seats))
    assert len(beside) > 1000
    assert quantile(beside, 0.95) <= 1.6 * quantile(alone, 0.95)


@pytest.mark.parametrize("slots", [2, 4])
async def test_ten_seats_with_endless_runs_delay_no_honest_one_where_as_many_runs_may_be_aside_as_have_a_slot(
    new: Callable[[str | None], Run], shipped: Settings, slots: int
) -> None:
    seats = [f"hostile {number}" for number in range(10)]
    alone, beside = (
        waits(World(slots, shipped, new, aside=slots), hostile, 3.0, 0.1 * slots) for hostile in ([], 2 * seats)
    )
    assert len(alone) == len(beside) > 1000
    assert (quantile(beside, 0.95), beside[-1]) == (quantile(alone, 0.95), alone[-1])


async def test_with_one_slot_nobody_waits_for_an_endless_run(world: Callable[[int], World]) -> None:
    assert waits(world(1), 50 * ["greedy"], 3.0, 0.1)[-1] < 2 * ASIDE_SECONDS
