"""One job on a worker, with a broker in this process and an engine that nobody reaches."""

import logging
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest
from nats.aio.msg import Msg

from app.engine import NoSuchRunError
from app.engine.local import LocalEngine
from app.engine.nats.adoption import Adoption
from app.engine.nats.attempt import Attempt, WorkerParts
from app.engine.nats.holding import Holding
from app.engine.nats.runlog import HANDED_BACK, known
from app.protocol.command import parse
from app.protocol.job import JobSpec
from tests.support.memory_broker import MemoryBroker

pytestmark = pytest.mark.anyio
JOB = JobSpec(
    run_id="one", course="c", digest="d", lesson="l", files={}, command=parse("cargo build"), toolchain="1.96"
)


class Engine:
    """An engine whose runs never end. ``told`` is what it was asked to do."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def submit(self, job: JobSpec, *, yields: bool) -> str:
        assert not yields
        self.told.append("submit")
        return job.run_id

    async def status(self, run_id: str) -> SimpleNamespace:
        if "submit" not in self.told:
            raise NoSuchRunError(run_id)
        return SimpleNamespace(state="running")

    async def discard(self, _run_id: str) -> None:
        self.told.append("discard")


class Delivery(Msg):
    """A job as the broker delivers it for the first or another time; its acknowledgements are noted."""

    def __init__(self, broker: MemoryBroker, times: int = 1) -> None:
        super().__init__(broker.client, reply=f"$JS.ACK.JOBS.group.{times}.1.1.1796000000000000000.0")
        self.told: list[str] = []

    async def nak(self, delay: float | None = None) -> None:
        del delay
        self.told.append("nak")


def attempt(broker: MemoryBroker, engine: Engine | None = None, times: int = 1) -> tuple[Attempt, Delivery]:
    local = cast("LocalEngine", engine or Engine())
    holding = Holding(broker, "w", lambda _: None)
    msg = Delivery(broker, times)
    nothing: Any = lambda *_: None  # noqa: E731 - nothing counts here
    return Attempt(WorkerParts("w", broker, local, Adoption(broker, local), holding, nothing), JOB, msg, nothing), msg


@pytest.mark.parametrize(("times", "told"), [(1, ["submit", "discard"]), (2, [])])
async def test_a_job_starts_before_its_lease_is_stored_only_when_nobody_has_had_it(times: int, told: list[str]) -> None:
    broker, engine = MemoryBroker(), Engine()
    broker.away = True
    one, _ = attempt(broker, engine, times)
    await one.execute()
    assert engine.told == told, "without the lease it must not go on"


async def test_the_warning_about_a_broker_that_went_away_has_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    broker = MemoryBroker()
    broker.away = True
    one, _ = attempt(broker)
    with caplog.at_level(logging.WARNING):
        await one.execute()
    assert caplog.messages == ["the broker went away during run one: the broker is away"]


async def test_a_lease_that_was_taken_just_before_a_stop_is_given_back() -> None:
    broker = MemoryBroker()
    broker.delay()
    one, msg = attempt(broker)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.execute)
        await anyio.wait_all_tasks_blocked()
        taken = (await known(broker, "one")).lease
        assert taken
        assert taken.holder == "w"
        await one.hand_back()
    given = (await known(broker, "one")).lease
    assert given
    assert (given.holder, given.attempt) == (HANDED_BACK, 0)
    assert msg.told == ["nak"]
