"""One job on a worker, with a broker in this process and an engine that nobody reaches."""

import logging
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
    """An engine that has no runs."""

    async def status(self, run_id: str) -> None:
        raise NoSuchRunError(run_id)

    async def discard(self, _run_id: str) -> None:
        """Do nothing."""


class Delivery(Msg):
    """A job as the broker delivers it; its acknowledgements are noted."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker.client)
        self.told: list[str] = []

    async def nak(self, delay: float | None = None) -> None:
        del delay
        self.told.append("nak")


def attempt(broker: MemoryBroker) -> tuple[Attempt, Delivery]:
    engine = cast("LocalEngine", Engine())
    holding = Holding(broker, "w", lambda _: None)
    msg = Delivery(broker)
    nothing: Any = lambda *_: None  # noqa: E731 - nothing counts here
    return Attempt(WorkerParts("w", broker, engine, Adoption(broker, engine), holding, nothing), JOB, msg, nothing), msg


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
