"""The web's queues with workers elsewhere, with a broker in this process and a test clock."""

from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace

import anyio
import pytest

from app.engine.nats import subjects
from app.engine.nats.feed import Feed
from app.engine.nats.inventory import NatsInventory
from app.engine.nats.mirror import Mirror
from app.engine.supervisor import Supervisor
from app.protocol.command import parse
from app.protocol.events import Started
from app.protocol.job import JobSpec
from app.settings import Settings
from tests.support.memory_broker import MemoryBroker

pytestmark = pytest.mark.anyio
ENDLESS = 20.0
"""The seconds of a run that only its timeout ends."""
STARTED = Started(id=1, toolchain="1.96", argv=("cargo", "build"), isolation="namespaces")


class World:
    """A feed whose clock a test advances, and a run at the workers of the group ``g``."""

    def __init__(self, broker: MemoryBroker, feed: Feed) -> None:
        self.broker = broker
        self.feed = feed
        self.now = 1000.0

    def place(self) -> Mirror:
        """Enqueue a run, which gets a slot at once."""
        run = self.enqueue()
        assert run.placed
        return run

    def enqueue(self) -> Mirror:
        parts = {"course": "c", "digest": "d", "lesson": "l", "toolchain": "1.96", "queue_owner": "honest"}
        run = Mirror(JobSpec.model_validate({**parts, "files": {}, "command": parse("cargo build")}), self.feed.say)
        self.feed.dispatcher_of("g").queue.resize(2)
        run.certain = True
        run.take([STARTED])
        self.feed.enqueue(run, "g")
        return run

    def wait(self, seconds: float) -> str:
        """Advance the clock, and return the standing of the run's owner."""
        self.now += seconds
        self.feed.dispatcher_of("g").tick()
        return self.feed.dispatcher_of("g").queue.standing("honest")


@pytest.fixture
async def world(shipped: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    broker = MemoryBroker()
    take: Callable[..., bool] = lambda *_: True  # noqa: E731 - the log does not matter here
    async with anyio.create_task_group() as tasks:
        made = World(broker, Feed(shipped, NatsInventory(shipped, (), broker), Supervisor(tasks), take))
        monkeypatch.setattr("app.engine.nats.broker.time", SimpleNamespace(monotonic=lambda: made.now))
        yield made
        tasks.cancel_scope.cancel()


async def test_a_run_without_processes_frees_its_slot_once(world: World) -> None:
    run, _, *waiting = [world.enqueue() for _ in range(4)]
    world.feed.executed(run)
    assert [one.placed for one in waiting] == [True, False]
    world.feed.ended(run)
    assert [one.placed for one in waiting] == [True, False]
    assert world.wait(0.1) == "short"


async def test_a_cancelled_run_without_processes_was_not_short(world: World) -> None:
    run = world.place()
    run.unwanted = True
    world.feed.executed(run)
    assert world.wait(0.1) == "new"


async def test_a_job_says_if_its_log_may_have_an_event_that_the_web_does_not_know(world: World) -> None:
    first, _, *waiting = [world.enqueue() for _ in range(3)]
    await anyio.wait_all_tasks_blocked()
    world.broker.away = True
    lost = world.enqueue()
    await anyio.wait_all_tasks_blocked()
    world.broker.away = False
    world.feed.ended(first)
    await anyio.wait_all_tasks_blocked()
    world.feed.ended(waiting[0])
    await anyio.wait_all_tasks_blocked()
    jobs = {JobSpec.model_validate_json(msg.data).run_id: msg for msg in await world.broker.read("", "job.*")}
    uncertain = [run_id for run_id, msg in jobs.items() if subjects.CERTAIN not in (msg.headers or {})]
    assert len(jobs) == 4
    assert uncertain == [lost.id]


async def test_an_outage_of_the_broker_makes_no_run_long(world: World) -> None:
    world.place()
    for _ in range(2):
        await world.broker.lose()
        assert world.wait(ENDLESS) == "new"
        await world.broker.come_back()
        assert world.wait(0.1) == "new"
    assert world.wait(ENDLESS) == "long"


async def test_a_run_is_measured_from_the_time_when_its_last_worker_took_it(world: World) -> None:
    run = world.place()
    for _ in range(3):
        assert world.wait(ENDLESS / 5) == "new"
        world.feed.begun(run)
    assert world.wait(ENDLESS) == "long"
