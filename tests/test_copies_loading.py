"""A copy of a run that is read from the broker: nobody sees a half of it, and what comes meanwhile is not missed."""

from collections.abc import AsyncIterator, Sequence

import anyio
import pytest
from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg

from app.engine import EngineUnavailableError
from app.engine.nats.broker import Broker
from app.engine.nats.copies import Copies
from app.engine.nats.mirror import Mirror
from app.engine.nats.runlog import BrokerArtifact, Known
from app.engine.supervisor import Supervisor
from app.protocol.command import parse
from app.protocol.events import Event, Finished, Output, Verdict
from app.protocol.job import JobSpec

pytestmark = pytest.mark.anyio

JOB = JobSpec(course="c", digest="d", lesson="one", files={}, command=parse("cargo build"), toolchain="1.96")
OUTPUT = Output(id=1, stream="stdout", text="Hello")
LOG: tuple[Event, ...] = (
    OUTPUT,
    Finished(id=2, status="ok", exit_code=0, seconds=0.1),
    Verdict(id=3, reached=True, checks=()),
)


class StoredLog:
    """The broker's log of one run. It is read when it is ``asked``, and answers later."""

    def __init__(self) -> None:
        self.events: tuple[Event, ...] = LOG
        self.stored = True
        self.failure: Exception | None = None
        self.asked = anyio.Event()
        self.answers = anyio.Event()

    async def known(self, _broker: Broker, _run_id: str) -> Known:
        data = JOB.model_dump_json().encode()
        accepted = Msg(NatsClient(), data=data, headers={"Nats-Sequence": "7"})
        return Known(accepted, None, 0, False, self.stored)

    async def events_of(self, _broker: Broker, _run_id: str) -> tuple[list[Event], BrokerArtifact | None]:
        found = list(self.events)
        self.asked.set()
        await self.answers.wait()
        if self.failure:
            raise self.failure
        return found, None


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> StoredLog:
    made = StoredLog()
    monkeypatch.setattr("app.engine.nats.copies.known", made.known)
    monkeypatch.setattr("app.engine.nats.copies.events_of", made.events_of)
    return made


@pytest.fixture
async def copies() -> AsyncIterator[Copies]:
    async def store(_job: JobSpec, _events: Sequence[Event], _verdict: Verdict) -> None:
        """Keep no progress."""

    def nothing(*_: object) -> None:
        """Ignore what the copies say of the run."""

    async with anyio.create_task_group() as tasks:
        yield Copies(Broker("nats://127.0.0.1:1"), Supervisor(tasks), store, nothing, nothing, nothing)


async def read(run: Mirror) -> list[Event]:
    with anyio.fail_after(60):
        return [event async for event in run.follow()]


async def test_a_run_is_seen_only_with_its_log(copies: Copies, log: StoredLog) -> None:
    found: list[Mirror] = []

    async def get() -> None:
        found.append(await copies.get(JOB.run_id))

    async with anyio.create_task_group() as readers:
        readers.start_soon(get)
        await log.asked.wait()
        readers.start_soon(get)
        assert copies.all() == []
        assert JOB.run_id not in copies
        log.answers.set()
    assert found[0] is found[1]
    assert await read(found[0]) == list(LOG)


async def test_a_run_whose_log_could_not_be_read_is_read_again(copies: Copies, log: StoredLog) -> None:
    async with anyio.create_task_group() as reader:
        reader.start_soon(copies.get, JOB.run_id)
        await log.asked.wait()
        reader.cancel_scope.cancel()
    log.answers.set()
    log.failure = EngineUnavailableError("the broker is away")
    with pytest.raises(EngineUnavailableError):
        await copies.get(JOB.run_id)
    log.failure = None
    assert await read(await copies.get(JOB.run_id)) == list(LOG)


async def test_what_is_stored_while_a_log_is_read_is_not_missed(copies: Copies, log: StoredLog) -> None:
    log.events, log.stored = (OUTPUT,), False
    async with anyio.create_task_group() as reader:
        reader.start_soon(copies.get, JOB.run_id)
        await log.asked.wait()
        more = Output(id=2, stream="stdout", text="world")
        log.events = (OUTPUT, more)
        log.answers.set()
    await anyio.wait_all_tasks_blocked()
    assert (await copies.get(JOB.run_id)).log == [OUTPUT, more]


async def test_a_run_ends_even_if_a_broker_does_not_know_its_verdict_yet(
    copies: Copies, log: StoredLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def publish(*_: object, **_more: object) -> int:
        return 8

    monkeypatch.setattr(Broker, "publish", publish)
    log.events = (OUTPUT,)
    async with anyio.create_task_group() as reader:
        reader.start_soon(copies.get, JOB.run_id)
        await log.asked.wait()
        log.events = LOG
        log.answers.set()
    assert await read(await copies.get(JOB.run_id)) == list(LOG)
