"""The web's copies of runs, with a broker in this process."""

from collections.abc import AsyncIterator, Sequence

import anyio
import anyio.lowlevel
import pytest

from app.engine import EngineUnavailableError
from app.engine.nats import subjects
from app.engine.nats.copies import Copies
from app.engine.nats.mirror import Mirror
from app.engine.nats.runlog import first_lease, known, next_lease
from app.engine.supervisor import Supervisor
from app.protocol.command import parse
from app.protocol.events import Event, Finished, Started, Verdict
from app.protocol.job import JobSpec
from tests.support.memory_broker import MemoryBroker

pytestmark = pytest.mark.anyio

STARTED = Started(id=1, toolchain="1.96", argv=("cargo", "build"), isolation="namespaces")
LOG: Sequence[Event] = (
    STARTED,
    Finished(id=2, status="ok", exit_code=0, seconds=0.2),
    Verdict(id=3, reached=True, checks=()),
)


def job(run_id: str = "one") -> JobSpec:
    """Return a job that nothing executes."""
    return JobSpec(
        run_id=run_id, course="c", digest="d", lesson="l", files={}, command=parse("cargo build"), toolchain="1.96"
    )


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
def begun() -> list[str]:
    """The runs that a worker has taken."""
    return []


@pytest.fixture
async def copies(broker: MemoryBroker, begun: list[str]) -> AsyncIterator[Copies]:
    async def store(_job: JobSpec, _events: Sequence[Event], _verdict: Verdict) -> None:
        """Keep no progress."""

    def nothing(*_: object) -> None:
        """Take what is said of a run."""

    async with anyio.create_task_group() as tasks:
        yield Copies(broker, Supervisor(tasks), store, nothing, lambda run: begun.append(run.id), nothing)
        tasks.cancel_scope.cancel()


async def stored(broker: MemoryBroker) -> None:
    """Store a run that has ended."""
    await broker.publish(subjects.spec("one", None), job().model_dump_json().encode())
    log = await first_lease(broker, "one", "worker")
    assert log
    await log.append(LOG)


async def followed(run: Mirror) -> list[Event]:
    with anyio.fail_after(60):
        return [event async for event in run.follow()]


async def test_a_run_whose_loading_was_interrupted_is_loaded_again(copies: Copies, broker: MemoryBroker) -> None:
    await stored(broker)
    await broker.publish(subjects.of_run("one", "stored"))
    broker.delay()
    async with anyio.create_task_group() as first:
        first.start_soon(copies.get, "one")
        await anyio.wait_all_tasks_blocked()
        first.cancel_scope.cancel()
    broker.away = True
    broker.answers.set()
    with pytest.raises(EngineUnavailableError):
        await copies.get("one")
    broker.away = False
    assert [event.type for event in await followed(await copies.get("one"))] == ["started", "finished", "verdict"]


async def test_each_lease_begins_a_run_once(copies: Copies, broker: MemoryBroker, begun: list[str]) -> None:
    run = copies.new(job())
    assert await first_lease(broker, "one", "a")
    live = broker.messages[-1]
    live.headers = {**(live.headers or {}), "Nats-Subject": f"{subjects.LIVE}run.one.lease"}
    await copies.on_lease(live)
    await copies.on_lease(live)
    assert begun == ["one"]
    live.headers["Nats-Subject"] = "run.one.lease"
    assert await next_lease(broker, "one", "b", await known(broker, "one"))
    await copies.replay(run)
    assert begun == ["one", "one"]
    assert run.lease
    assert run.lease.holder == "b"


async def test_a_reader_that_comes_while_a_run_is_loaded_waits_for_it(copies: Copies, broker: MemoryBroker) -> None:
    await stored(broker)
    broker.delay()
    found: list[Mirror] = []

    async def read() -> None:
        found.append(await copies.get("one"))

    async with anyio.create_task_group() as tasks:
        async with anyio.create_task_group() as first:
            first.start_soon(copies.get, "one")
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            first.cancel_scope.cancel()
        broker.answers.set()
    [run] = found
    assert [event.type for event in await followed(run)] == ["started", "finished", "verdict"]
