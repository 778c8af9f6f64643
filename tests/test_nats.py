"""The engine on NATS: real servers, real workers in processes of their own, and their deaths."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import anyio
import httpx
import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.course import Course, Lesson
from app.engine import EngineUnavailableError, NoSuchRunError, OnVerdict
from app.engine.nats import subjects, words
from app.engine.nats.broker import Broker, FencedError, SubjectFullError, UnusableBrokerError
from app.engine.nats.engine import NatsEngine
from app.engine.nats.inventory import NatsInventory
from app.engine.nats.runlog import events_of, first_lease, known, next_lease
from app.protocol.command import parse
from app.protocol.events import Event, Finished, Output, Queued, Started, Verdict
from app.protocol.job import JobSpec
from app.protocol.machine import ToolchainInfo
from app.protocol.worker import WorkerInfo
from app.settings import Settings
from app.toolchain import Toolchain
from tests.support.broker import NatsServer, WorkerProcess, nats_server
from tests.support.jobs import job
from tests.support.server import serving

pytestmark = pytest.mark.anyio

StartWorker = Callable[[], Awaitable[WorkerProcess]]
TURNS = """use std::{thread::sleep, time::Duration};

fn main() {
    for turn in 0..25 {
        println!("turn {turn}");
        sleep(Duration::from_millis(100));
    }
}
"""


@pytest.fixture
def nats() -> Iterator[NatsServer]:
    with nats_server() as server:
        yield server


@pytest.fixture
def jobs(lessons: dict[str, Lesson], toolchain: Toolchain) -> Callable[..., JobSpec]:
    lesson = lessons["hello-std"]

    def made(command: str = "rustc --version", main: str | None = None, **more: object) -> JobSpec:
        files = {**lesson.files, **({"src/main.rs": main} if main else {})}
        return job(lesson, files, parse(command), toolchain, **more)

    return made


@pytest.fixture
async def start_worker(nats: NatsServer, open_folder: Path) -> AsyncIterator[StartWorker]:
    """Start workers; each has a scratch folder of its own."""
    workers: list[WorkerProcess] = []

    async def started() -> WorkerProcess:
        scratch = open_folder / f"worker-{len(workers)}"
        # On a busy machine a build takes many seconds.
        start = partial(WorkerProcess, nats.url, scratch, PLAYGROUND_RUN_SECONDS="300")
        workers.append(await anyio.to_thread.run_sync(start))
        return workers[-1]

    yield started
    for worker in workers:
        worker.kill()


async def _nothing(_job: JobSpec, _events: Sequence[Event], _verdict: Verdict) -> None:
    """Keep no progress."""


@asynccontextmanager
async def web(
    settings: Settings, course: Course, url: str, on_verdict: OnVerdict = _nothing, workers: int = 0
) -> AsyncIterator[NatsEngine]:
    """The web's side, once it has heard of so many workers."""
    inventory = NatsInventory(settings, (course,), Broker(url))
    async with NatsEngine(settings, inventory, on_verdict) as engine:
        with anyio.fail_after(60):
            while len(inventory.workers()) < workers:  # noqa: ASYNC110 - an inventory tells nobody
                await anyio.sleep(0.05)
        yield engine


async def followed(engine: NatsEngine, run_id: str, after: int = 0) -> list[Event]:
    with anyio.fail_after(300):
        return [event async for event in engine.events(run_id, after)]


async def until(engine: NatsEngine, run_id: str, text: str) -> int:
    """Wait for a text and return the id of its event."""
    with anyio.fail_after(300):
        async for event in engine.events(run_id):
            if isinstance(event, Output) and text in event.text:
                return event.id
    raise AssertionError(text)


def assert_complete(events: Sequence[Event]) -> Finished:
    """The ids have no holes, and the log ends with one ``finished`` and one verdict."""
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    ends = [event.type for event in events if isinstance(event, (Finished, Verdict))]
    assert ends == ["finished", "verdict"]
    assert isinstance(events[-1], Verdict)
    return next(event for event in events if isinstance(event, Finished))


def said(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Output))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
async def test_a_run_goes_on_at_another_worker(
    how: signal.Signals,
    nats: NatsServer,
    settings: Settings,
    taught: Course,
    jobs: Callable[..., JobSpec],
    start_worker: StartWorker,
) -> None:
    spec = jobs("cargo run", TURNS)
    workers = [await start_worker(), await start_worker()]
    async with web(settings, taught, nats.url, workers=2) as engine:
        await engine.submit(spec)
        await until(engine, spec.run_id, "turn 3")
        holder = (await known(engine._broker, spec.run_id)).lease
        assert holder
        [lost] = [worker for worker in workers if worker.id == holder.holder]
        lost.send(how)
        events = await followed(engine, spec.run_id)
        assert assert_complete(events).status == "ok"
        assert words.BEGUN_AGAIN in said(events)
        assert said(events).endswith("turn 24\n")
        assert sum(isinstance(event, Started) for event in events) == 2
        if how == signal.SIGSTOP:
            lost.send(signal.SIGCONT)
            await anyio.sleep(1.5)
        assert (await events_of(engine._broker, spec.run_id))[0] == events, "late events are refused"
        again = await followed(engine, await engine.submit(jobs()))
        assert assert_complete(again).status == "ok"


async def test_nothing_is_lost_when_the_broker_dies(
    nats: NatsServer, settings: Settings, taught: Course, jobs: Callable[..., JobSpec], start_worker: StartWorker
) -> None:
    spec = jobs("cargo run", TURNS)
    await start_worker()
    async with web(settings, taught, nats.url, workers=1) as engine, anyio.create_task_group() as tasks:
        seen: list[Event] = []

        async def read() -> None:
            seen.extend(await followed(engine, spec.run_id))

        await engine.submit(spec)
        tasks.start_soon(read)
        for turn in (3, 9):
            await until(engine, spec.run_id, f"turn {turn}")
            nats.kill()
            await anyio.sleep(0.3)
            assert await engine.health() == words.BROKER_GONE
            await anyio.to_thread.run_sync(nats.start)
        waiting = jobs()
        await engine.submit(waiting)
        assert assert_complete(await followed(engine, waiting.run_id)).status == "ok"
    assert assert_complete(seen).status == "ok"
    assert [f"turn {turn}" in said(seen) for turn in range(25)] == [True] * 25


async def test_a_web_that_starts_again_follows_the_runs_of_the_last_one(
    nats: NatsServer, settings: Settings, taught: Course, jobs: Callable[..., JobSpec], start_worker: StartWorker
) -> None:
    running, waiting, left = jobs("cargo run", TURNS, owner="me"), jobs(), jobs("cargo run", TURNS, attended=True)
    stored: list[str] = []

    async def store(spec: JobSpec, _events: Sequence[Event], _verdict: Verdict) -> None:
        stored.append(spec.run_id)

    async def fail(spec: JobSpec, _events: Sequence[Event], _verdict: Verdict) -> None:
        raise OSError(f"no room for {spec.run_id}")

    await start_worker()
    async with web(settings, taught, nats.url, fail, workers=1) as engine:
        done = await engine.submit(jobs())
        first = await followed(engine, done)
        for spec in (running, left, waiting):
            await engine.submit(spec)
        last = await until(engine, running.run_id, "turn 3")
    settings = settings.model_copy(update={"reader_seconds": 0.5})
    async with web(settings, taught, nats.url, store) as engine:
        later = await followed(engine, running.run_id, last)
        assert [event.id for event in later] == list(range(last + 1, last + 1 + len(later)))
        assert assert_complete(await followed(engine, running.run_id)).status == "ok"
        assert assert_complete(await followed(engine, waiting.run_id)).status == "ok"
        assert assert_complete(await followed(engine, left.run_id)).status == "cancelled", "nobody follows it"
        assert await followed(engine, done) == first
        assert sorted(stored) == sorted([done, running.run_id, waiting.run_id, left.run_id])
        with anyio.fail_after(300):
            while len(await engine._broker.names("run.*.stored")) < 4:  # noqa: ASYNC110 - nothing tells of a note
                await anyio.sleep(0.05)
    async with web(settings, taught, nats.url, store) as engine:
        assert await followed(engine, done) == first
        assert len(stored) == 4, "what is stored stays so"
        await engine.forget("me")
        with pytest.raises(NoSuchRunError):
            await engine.status(running.run_id)
        assert await engine._broker.names(f"run.{running.run_id}.>") == []


async def test_a_worker_that_is_told_to_stop_finishes_its_run_first(
    nats: NatsServer, settings: Settings, taught: Course, jobs: Callable[..., JobSpec], start_worker: StartWorker
) -> None:
    spec = jobs("cargo run", TURNS)
    worker = await start_worker()
    async with web(settings, taught, nats.url, workers=1) as engine:
        await engine.submit(spec)
        await until(engine, spec.run_id, "turn 1")
        worker.send(signal.SIGTERM)
        queued = await engine.submit(jobs())
        assert assert_complete(await followed(engine, spec.run_id)).status == "ok"
        assert await anyio.to_thread.run_sync(worker.process.wait, 15) == 0
        assert (await engine.status(queued)).state == "queued"
        assert await engine.health() == words.NO_WORKER
        await start_worker()
        assert assert_complete(await followed(engine, queued)).status == "ok"


async def test_a_run_that_loses_three_workers_is_not_begun_again(
    nats: NatsServer, settings: Settings, taught: Course, jobs: Callable[..., JobSpec], start_worker: StartWorker
) -> None:
    spec = jobs()
    async with web(settings, taught, nats.url) as engine:
        # Three workers that die right after they have begun.
        log = await first_lease(engine._broker, spec.run_id, "dead")
        for _ in range(2):
            log = await next_lease(engine._broker, spec.run_id, "dead", await known(engine._broker, spec.run_id))
        assert log
        assert log.lease
        assert log.lease.attempt == 3
        await start_worker()
        with anyio.fail_after(60):
            while not engine._inventory.workers():  # noqa: ASYNC110 - an inventory tells nobody
                await anyio.sleep(0.05)
        await engine.submit(spec)
        events = await followed(engine, spec.run_id)
        assert assert_complete(events).status == "failed"
        assert words.TOO_MANY_ATTEMPTS in said(events)


async def test_a_cancelled_run_that_no_worker_has_taken_ends_at_once(
    nats: NatsServer, settings: Settings, taught: Course, jobs: Callable[..., JobSpec]
) -> None:
    async with web(settings, taught, nats.url) as engine:
        with pytest.raises(EngineUnavailableError):
            await engine.submit(jobs())
        engine._inventory.note(_worker(taught, jobs().toolchain))
        engine._feed.queue(_worker(taught, jobs().toolchain).group)
        engine._feed.resize()
        # One job is at the broker for a worker that does not come, one is in the queue here.
        runs = [await engine.submit(jobs()) for _ in range(2)]
        await anyio.sleep(0.2)
        for run_id in runs:
            await engine.cancel(run_id)
            events = await followed(engine, run_id)
            assert assert_complete(events).status == "cancelled"
            assert isinstance(events[0], Queued)
        assert await engine._broker.read(subjects.JOBS, "job.>") == []


async def test_only_the_holder_of_the_lease_writes_and_an_owner_has_few_jobs_at_the_broker(nats: NatsServer) -> None:
    broker = await Broker(nats.url).connect(5)
    await broker.ensure(3600)
    try:
        first = await first_lease(broker, "one", "a")
        assert first
        assert await first_lease(broker, "one", "b") is None
        second = await next_lease(broker, "one", "b", await known(broker, "one"))
        assert second
        await second.append([Output(id=1, stream="stdout", text="b")])
        with pytest.raises(FencedError):
            await first.append([Output(id=1, stream="stdout", text="a")])
        assert said((await events_of(broker, "one"))[0]) == "b"
        for _ in range(subjects.OWNER_JOBS):
            await broker.publish(subjects.job("group", "greedy"), b"job")
        with pytest.raises(SubjectFullError):
            await broker.publish(subjects.job("group", "greedy"), b"job")
        await broker.publish(subjects.job("group", "other"), b"job")
        many = [Output(id=number, stream="stdout", text=f"{number} ") for number in range(2, 3000)]
        for event in many[:1200]:
            await second.append([event])
        await second.append(many[1200:])
        found, _ = await events_of(broker, "one")
        assert [event.id for event in found] == list(range(1, 3000)), "also in several batches"
    finally:
        await broker.close()


async def test_a_broker_that_is_not_there_is_named() -> None:
    with pytest.raises(UnusableBrokerError, match="cannot be reached"):
        await Broker("nats://127.0.0.1:9").connect(0.5)


async def test_a_server_keeps_a_run_through_its_own_death(
    nats: NatsServer, tmp_path: Path, start_worker: StartWorker
) -> None:
    await start_worker()
    variables = {"PLAYGROUND_ENGINE": nats.url}
    posted = {"lesson": "hello-std", "files": {"src/main.rs": TURNS}, "command": "cargo run"}
    async with AsyncExitStack() as stack:
        server = stack.enter_context(serving(tmp_path / "data", **variables))
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            await _ready(client)
            run = (await client.post("/api/runs", json=posted)).json()
            first = await _ids(client, run["events"], stop="turn 3")
            server.process.kill()
            server.process.wait()
        server = stack.enter_context(serving(tmp_path / "data", **variables))
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            rest = await _ids(client, run["events"], after=first[-1])
            assert [*first, *rest] == list(range(1, rest[-1] + 1))
            state = (await client.get(f"/api/runs/{run['id']}")).json()
            assert (state["state"], state["finished"]["status"]) == ("done", "ok")
            missing = await client.get("/api/runs/..%2Fev")
            assert missing.status_code in (404, 422)


async def _ready(client: httpx.AsyncClient) -> None:
    with anyio.fail_after(60):
        while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110
            await anyio.sleep(0.1)


async def _ids(client: httpx.AsyncClient, path: str, after: int = 0, stop: str = "\0") -> list[int]:
    """Return the ids of the events, up to one with the text."""
    found: list[int] = []
    with suppress(httpx.RemoteProtocolError):
        async with client.stream("GET", path, headers={"Last-Event-ID": str(after)}) as answer:
            text = ""
            async for line in answer.aiter_lines():
                if line.startswith("id: "):
                    found.append(int(line[4:]))
                    if stop in text:
                        return found
                elif line.startswith("data: "):
                    text = line
    return found


def _worker(course: Course, toolchain: str, **more: object) -> WorkerInfo:
    told = ToolchainInfo(
        name=toolchain, version=f"{toolchain}.0", stable=True, host="x86_64-unknown-linux-gnu", targets={}
    )
    given = {
        "id": "one",
        "version": "1",
        "courses": {course.id: course.digest},
        "isolation": "namespaces",
        "slots": 1,
        "toolchains": (told,),
    }
    return WorkerInfo.model_validate(given | more)


async def test_jobs_go_to_workers_that_can_run_them(
    settings: Settings, taught: Course, jobs: Callable[..., JobSpec], caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    inventory = NatsInventory(settings, (taught,), Broker("nats://127.0.0.1:9"), lambda: now)
    assert (await inventory.health(), inventory.isolation) == (words.NO_WORKER, "none")
    able = _worker(taught, jobs().toolchain)
    other = _worker(taught, "1.0", id="two", isolation="landlock", slots=3)
    old = _worker(taught, jobs().toolchain, id="three", courses={taught.id: "0" * 64})
    for one in (able, other, old, able.model_copy(update={"id": "four", "draining": True})):
        inventory.note(one)
    assert inventory.able(jobs()) == [able.group]
    assert inventory.groups() == {able.group: 1, other.group: 3}
    assert inventory.isolation == "landlock"
    assert [one.name for one in await inventory.toolchains()] == ["1.0", jobs().toolchain]
    assert words.other_course("three", taught.id) in caplog.text
    now = subjects.WORKER_TTL + 0.1
    assert inventory.workers() == []
    public = NatsInventory(settings.model_copy(update={"host": "0.0.0.0"}), (taught,), Broker("nats://127.0.0.1:9"))
    public.note(_worker(taught, "1.96", isolation="none"))
    assert public.workers() == []
    assert words.not_isolated("one") in caplog.text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["worker"], "A worker needs the address of a NATS server"),
        (["worker", "--engine", "http://127.0.0.1"], "must be local, or the address of a NATS server"),
        (["doctor", "--engine", "nats://127.0.0.1:9"], "The broker at nats://127.0.0.1:9 cannot be reached"),
    ],
)
def test_a_command_that_lacks_a_broker_says_so(arguments: list[str], sentence: str) -> None:
    done = CliRunner().invoke(cli, arguments)
    assert (done.exit_code, sentence in done.output) == (2, True), done.output
