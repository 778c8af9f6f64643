"""Runs of a group of workers that is gone: each goes to another group once, and none keeps a slot after its end."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import anyio
import pytest

from app.engine.nats.broker import Broker
from app.engine.nats.feed import Feed
from app.engine.nats.inventory import NatsInventory
from app.engine.nats.mirror import Mirror
from app.engine.supervisor import Supervisor
from app.protocol.command import parse
from app.protocol.events import Event, Finished, Verdict
from app.protocol.job import JobSpec
from app.settings import Settings

pytestmark = pytest.mark.anyio


class SlowBroker(Broker):
    """A broker that stores what it gets, and answers to jobs and deletions only while ``answers`` is set."""

    def __init__(self) -> None:
        super().__init__("nats://127.0.0.1:1")
        self.stored: list[str] = []
        self.answers = anyio.Event()
        self.answers.set()
        self.asked = anyio.Event()

    async def publish(
        self, subject: str, data: bytes = b"", headers: dict[str, str] | None = None, *, seconds: float = 5.0
    ) -> int:
        del data, headers, seconds
        if not subject.startswith("job."):
            return 1
        self.stored.append(subject.split(".")[1])
        number = len(self.stored)
        await self._answer()
        return number

    async def ask(self, what: str, wish: Mapping[str, Any] | None = None) -> dict[str, Any]:
        del what
        assert wish
        await self._answer()
        self.stored[wish["seq"] - 1] += " deleted"
        return {}

    async def _answer(self) -> None:
        self.asked.set()
        await self.answers.wait()

    def stall(self) -> None:
        self.asked, self.answers = anyio.Event(), anyio.Event()


class Groups(NatsInventory):
    """The groups of workers with their slots, each of which can run any job."""

    slots: Mapping[str, int]

    def groups(self) -> dict[str, int]:
        return dict(self.slots)

    def able(self, job: JobSpec) -> list[str]:
        del job
        return list(self.slots)


class World:
    """A feed with one slot at the workers of the group ``old``."""

    def __init__(self, settings: Settings, tasks: Supervisor) -> None:
        self.broker = SlowBroker()
        self.inventory = Groups(settings, (), self.broker)
        self.inventory.slots = {"old": 1}
        self.feed = Feed(settings, self.inventory, tasks, lambda run, events: run.take(events))
        self.runs: list[Mirror] = []

    async def submit(self) -> Mirror:
        job = JobSpec(
            course="c", digest="d", lesson="one", files={}, command=parse("cargo build"), toolchain="1.96",
            queue_owner=f"owner-{len(self.runs)}",
        )  # fmt: skip
        run = Mirror(job, self.feed.say)
        self.runs.append(run)
        self.feed.enqueue(run, next(iter(self.inventory.slots)))
        await anyio.wait_all_tasks_blocked()
        return run

    def end(self, run: Mirror) -> None:
        """Cancel a run, as the engine does if no worker has begun it."""
        self.feed.leave(run)
        end: Sequence[Event] = (
            Finished(status="cancelled", exit_code=None, seconds=0.0),
            Verdict(reached=False, checks=()),
        )
        run.take([event.numbered(len(run.log) + at) for at, event in enumerate(end, 1)])
        run.close(stored=True)
        self.feed.ended(run)

    async def replace_workers(self, slots: int) -> None:
        """Let a group with so many slots take the place of the old one."""
        self.inventory.slots = {"new": slots}
        self.feed.resize()
        await self.feed.move_stranded(self.runs)
        await anyio.wait_all_tasks_blocked()


@pytest.fixture
async def world(shipped: Settings) -> AsyncIterator[World]:
    async with anyio.create_task_group() as tasks:
        yield World(shipped, Supervisor(tasks))
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("number", [0, 1], ids=["the run that is moved", "a run that waits"])
async def test_a_run_that_ends_while_others_are_moved_takes_no_slot(world: World, number: int) -> None:
    first, second = await world.submit(), await world.submit()
    assert (first.placed, second.placed) == (True, False)
    world.broker.stall()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.replace_workers, 1)
        await world.broker.asked.wait()
        world.end(world.runs[number])
        world.broker.answers.set()
    other = world.runs[1 - number]
    assert other.placed
    assert other.group == "new"
    world.end(other)
    assert (await world.submit()).placed


async def test_a_run_that_ends_while_it_is_accepted_takes_no_slot(world: World) -> None:
    run = await world.submit()
    world.end(run)
    world.feed.enqueue(run, "old")
    assert (await world.submit()).placed


async def test_a_job_that_is_on_its_way_to_the_old_group_is_withdrawn_and_moved(world: World) -> None:
    world.broker.stall()
    run = await world.submit()
    await world.broker.asked.wait()
    await world.replace_workers(1)
    world.broker.answers.set()
    await anyio.wait_all_tasks_blocked()
    await world.replace_workers(1)
    assert world.broker.stored == ["old deleted", "new"]
    assert (run.group, run.placed, run.sequence) == ("new", True, 2)
