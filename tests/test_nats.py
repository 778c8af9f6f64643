"""The engine on NATS: real servers, real workers in processes of their own, and their deaths."""

import json
import signal
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream
from nats.aio.msg import Msg
from typer.testing import CliRunner, Result

from app import __version__
from app.cli import cli
from app.course import Course, Lesson
from app.engine import EngineUnavailableError, NoSuchRunError, OnVerdict
from app.engine.inventory import LocalSetup
from app.engine.nats import asks, subjects, words
from app.engine.nats.attempt import Attempt
from app.engine.nats.broker import Broker, FencedError, SubjectFullError, UnusableBrokerError, subject_of
from app.engine.nats.engine import NatsEngine
from app.engine.nats.inventory import NatsInventory, table
from app.engine.nats.runlog import Lease, batch_of, events_of, first_lease, fitting, known, next_lease
from app.engine.nats.worker import NatsWorker
from app.protocol.command import parse
from app.protocol.events import Event, Finished, Output, Queued, Started, Verdict
from app.protocol.job import JobSpec
from app.protocol.machine import ToolchainInfo
from app.protocol.worker import WorkerInfo
from app.settings import Settings
from app.toolchain import Toolchain
from tests.support.broker import CONFIGURATION, NatsServer, WorkerProcess, nats_server
from tests.support.environment import EVERYTHING
from tests.support.jobs import job
from tests.support.polling import eventually_async
from tests.support.server import Server

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


# Killed workers are a part of tests/test_chaos.py, as is the death of the web.
@pytest.mark.parametrize("how", [signal.SIGSTOP, *([signal.SIGKILL] if EVERYTHING else [])], ids=lambda how: how.name)
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


async def until_health(engine: NatsEngine, sentence: str) -> None:
    """Wait until the engine's health is this sentence."""
    with anyio.fail_after(60):
        while await engine.health() != sentence:  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(0.05)


async def announced(engine: NatsEngine) -> int:
    """Return the number of workers that the broker knows."""
    with suppress(EngineUnavailableError):
        return len(await engine._broker.last(subjects.WORKERS, subjects.worker("*")))
    return 0


async def test_nothing_is_lost_when_the_broker_dies(
    nats: NatsServer, settings: Settings, taught: Course, jobs: Callable[..., JobSpec], start_worker: StartWorker
) -> None:
    spec = jobs("cargo run", TURNS)
    for _ in range(2):
        await start_worker()
    async with web(settings, taught, nats.url, workers=2) as engine, anyio.create_task_group() as tasks:
        seen: list[Event] = []

        async def read() -> None:
            seen.extend(await followed(engine, spec.run_id))

        await engine.submit(spec)
        tasks.start_soon(read)
        for turn in (3, 9):
            await until(engine, spec.run_id, f"turn {turn}")
            nats.kill()
            await until_health(engine, words.BROKER_GONE)
            await anyio.to_thread.run_sync(nats.start)
        # The broker has forgotten who was announced, and even where; the web makes room for it again.
        with anyio.fail_after(60):
            while await announced(engine) < 2:  # noqa: ASYNC110 - a worker tells only the broker
                await anyio.sleep(0.1)
        waiting = jobs()
        await engine.submit(waiting)
        assert assert_complete(await followed(engine, waiting.run_id)).status == "ok"
    assert assert_complete(seen).status == "ok"
    assert [said(seen).count(f"turn {turn}\n") for turn in range(25)] == [1] * 25, "it went on, and at one worker"
    assert words.BEGUN_AGAIN not in said(seen)


async def test_a_web_that_starts_again_follows_the_runs_of_the_last_one(
    nats: NatsServer,
    settings: Settings,
    taught: Course,
    jobs: Callable[..., JobSpec],
    start_worker: StartWorker,
    open_folder: Path,
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
        assert isinstance(first[-1], Verdict)
        assert not first[-1].stored
        first = [*first[:-1], first[-1].model_copy(update={"stored": True})]
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
        await engine._broker.purge(subjects.RUNS, f"run.{done}.stored")
        before = artifacts(open_folder / "worker-0")
        await engine.forget("me")
        with pytest.raises(NoSuchRunError):
            await engine.status(running.run_id)
        assert await engine._broker.names(f"run.{running.run_id}.>") == []
        assert await engine._broker.last(subjects.BUILT, f"built.{running.run_id}.>") == []
        with anyio.fail_after(60):
            while artifacts(open_folder / "worker-0") == before:  # noqa: ASYNC110 - a worker tells nobody
                await anyio.sleep(0.05)
        assert artifacts(open_folder / "worker-0") < before, "the worker has deleted it, too"
    async with web(settings, taught, nats.url, store) as engine:
        assert await followed(engine, done) == first
        assert stored.count(done) == 2, "a web that was killed before it noted that the verdict is stored"


async def test_a_run_does_not_come_back_because_somebody_asks_for_it_while_it_is_deleted(
    nats: NatsServer,
    settings: Settings,
    taught: Course,
    jobs: Callable[..., JobSpec],
    start_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await start_worker()
    spec = jobs(owner="me")
    async with web(settings, taught, nats.url, workers=1) as engine, anyio.create_task_group() as tasks:
        await engine.submit(spec)
        await followed(engine, spec.run_id)
        purge = engine._broker.purge

        async def ask() -> None:
            with suppress(NoSuchRunError):
                await engine.status(spec.run_id)

        async def slow_purge(stream: str, subject: str) -> None:
            tasks.start_soon(ask)
            await anyio.sleep(0.2)  # if it could be loaded now, it would be
            await purge(stream, subject)

        monkeypatch.setattr(engine._broker, "purge", slow_purge)
        await engine.forget("me")
        with pytest.raises(NoSuchRunError):
            await engine.status(spec.run_id)


def artifacts(scratch: Path) -> set[Path]:
    """Return the folders of the artifacts that a worker has."""
    return set(scratch.glob("server-*/artifacts/*"))


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
        assert await anyio.to_thread.run_sync(worker.process.wait, 60) == 0
        assert (await engine.status(queued)).state == "queued"
        await until_health(engine, words.NO_WORKER)
        await start_worker()
        assert assert_complete(await followed(engine, queued)).status == "ok"


def hears_of(engine: NatsEngine, worker: WorkerInfo) -> None:
    """Let the web hear of a worker that takes no jobs."""
    engine._inventory.note(worker)
    engine._feed.dispatcher_of(worker.group)
    engine._feed.resize()


@asynccontextmanager
async def worker_here(url: str, settings: Settings, course: Course, found: LocalSetup) -> AsyncIterator[NatsWorker]:
    """A worker in this process, so that a test can change how long it waits."""
    broker = await Broker(url, "worker").connect(5)
    worker = NatsWorker(settings, (course,), broker, found)
    begun = anyio.Event()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.serve, begun.set)
            await begun.wait()
            yield worker
            worker.drain()
    finally:
        await broker.close()


async def test_a_run_that_is_handed_back_goes_on_elsewhere_and_has_lost_no_worker(
    nats: NatsServer,
    settings: Settings,
    taught: Course,
    jobs: Callable[..., JobSpec],
    found: LocalSetup,
    open_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.engine.nats.worker.DRAIN_SECONDS", 0.1)
    spec = jobs("cargo run", TURNS)
    own = [
        settings.model_copy(
            update={"max_runs": 1, "run_seconds": 300.0, "scratch_dir": open_folder / f"worker-{number}"}
        )
        for number in range(2)
    ]
    async with (
        worker_here(nats.url, own[0], taught, found) as one,
        worker_here(nats.url, own[1], taught, found) as other,
        web(settings, taught, nats.url, workers=2) as engine,
    ):
        await engine.submit(spec)
        await until(engine, spec.run_id, "turn 3")
        lease = (await known(engine._broker, spec.run_id)).lease
        assert lease
        first, second = (one, other) if lease.holder == one.id else (other, one)
        first.drain()
        events = await followed(engine, spec.run_id)
        assert assert_complete(events).status == "ok"
        assert words.HANDED_ON in said(events)
        assert words.BEGUN_AGAIN not in said(events)
        assert said(events).endswith("turn 24\n")
        lease = (await known(engine._broker, spec.run_id)).lease
        assert lease
        assert (lease.holder, lease.attempt) == (second.id, 1)
        assert "taken_over" not in (await second.info()).counts


async def test_a_run_goes_to_a_group_that_can_execute_it_and_to_another_one_if_its_own_is_gone(
    nats: NatsServer,
    settings: Settings,
    taught: Course,
    jobs: Callable[..., JobSpec],
    found: LocalSetup,
    toolchain: Toolchain,
    open_folder: Path,
) -> None:
    more = replace(found, toolchains=(*found.toolchains, replace(toolchain, name="other")))
    own = [
        settings.model_copy(update={"max_runs": 1, "scratch_dir": open_folder / f"worker-{number}"})
        for number in range(2)
    ]
    async with web(settings, taught, nats.url) as engine:

        async def holder(run_id: str) -> str:
            lease = (await known(engine._broker, run_id)).lease
            assert lease
            return lease.holder

        # A job is at the broker for a group whose only worker takes none, and is not heard of any more.
        silent = _worker(taught, toolchain.name)
        hears_of(engine, silent)
        stranded, running, waiting = jobs(), jobs("cargo run", TURNS.replace("0..25", "0..")), jobs()
        await engine.submit(stranded)
        await jobs_at_the_broker(engine, 1)
        async with worker_here(nats.url, own[0], taught, found) as first:
            engine._inventory.leave(silent.id)
            assert assert_complete(await followed(engine, stranded.run_id)).status == "ok"
            assert await holder(stranded.run_id) == first.id
            for spec in (running, waiting):
                await engine.submit(spec)
            await until(engine, running.run_id, "turn 1")
            async with worker_here(nats.url, own[1], taught, more) as second:
                other = jobs().model_copy(update={"toolchain": "other"})
                with anyio.fail_after(60):
                    while len(engine._feed.groups()) < 3:  # noqa: ASYNC110 - an inventory tells nobody
                        await anyio.sleep(0.05)
                await engine.submit(other)
                assert assert_complete(await followed(engine, other.run_id)).status == "ok"
                assert await holder(other.run_id) == second.id
                assert (await engine.status(waiting.run_id)).state == "queued"
                first.drain()
                assert assert_complete(await followed(engine, waiting.run_id)).status == "ok"
                assert await holder(waiting.run_id) == second.id
                assert (await engine.status(running.run_id)).state == "running"
                await engine.cancel(running.run_id)
                events = await followed(engine, running.run_id)
                assert assert_complete(events).status == "cancelled"
                assert await holder(running.run_id) == first.id, "its worker still executed it"
                await jobs_at_the_broker(engine, 0)


async def jobs_at_the_broker(engine: NatsEngine, count: int) -> None:
    """Wait until the broker has so many jobs for workers."""
    with anyio.fail_after(60):
        while len(await engine._broker.read(subjects.JOBS, "job.>")) != count:  # noqa: ASYNC110 - the broker tells nobody
            await anyio.sleep(0.02)


async def test_a_worker_with_other_lessons_is_told_so_in_both_logs(
    nats: NatsServer, settings: Settings, taught: Course, open_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny = Path(__file__).parent / "courses/tiny"
    variables = {"PLAYGROUND_LESSONS_DIR": str(tiny), "PLAYGROUND_LOG_FORMAT": "json"}
    start = partial(WorkerProcess, nats.url, open_folder / "worker", 1, True, **variables)
    worker = await anyio.to_thread.run_sync(start)
    why = words.other_course(worker.id, taught.id)
    try:
        async with web(settings, taught, nats.url):
            assert worker.process.stdout
            with anyio.fail_after(60):
                line = ""
                while why not in line:
                    line = await anyio.to_thread.run_sync(worker.process.stdout.readline, abandon_on_cancel=True)
            assert caplog.text.count(why) == 1
    finally:
        worker.kill()


async def test_lessons_can_be_read_whatever_is_lost(
    nats: NatsServer, start_worker: StartWorker, start_server: Callable[..., Server]
) -> None:
    server = start_server(PLAYGROUND_ENGINE=nats.url)
    nothing_runs = "so nothing can be run"
    pages = ("/lessons/hello-std", "/lessons/boot-x86", "/lessons/bare-metal")  # programs and a target are asked for
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:

        async def shown() -> list[str]:
            answers = [await client.get(page) for page in pages]
            assert [answer.status_code for answer in answers] == [200, 200, 200]
            return [answer.text for answer in answers]

        async def explained(code: str) -> tuple[int, bool]:
            answer = await client.get(f"/explain/{code}")
            return answer.status_code, "was declared but cannot be found" in answer.text

        assert all(nothing_runs in text for text in await shown())
        for body in ({}, {"toolchain": "1.96"}):
            refused = await client.post("/api/runs", json={"lesson": "hello-std", "command": "cargo build"} | body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine-unavailable")
        worker = await start_worker()
        with anyio.fail_after(60):
            while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - a server tells nobody
                await anyio.sleep(0.05)
        assert not any(nothing_runs in text for text in await shown())
        assert await explained("E0463") == (200, True)
        assert await explained("E9999") == (404, False)
        worker.kill()  # for some seconds, the web does not know
        await shown()
        assert await explained("E0463") == (503, False)
        nats.kill()
        await shown()


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


async def test_what_the_web_says_of_a_run_that_starts_at_once_is_written_by_its_worker(
    nats: NatsServer, settings: Settings, taught: Course, jobs: Callable[..., JobSpec], start_worker: StartWorker
) -> None:
    """So the web need not wait until the broker has stored it."""
    await start_worker()
    async with web(settings, taught, nats.url, workers=1) as engine:
        run_id = await engine.submit(jobs())
        events = await followed(engine, run_id)
        assert_complete(events)
        first, *_ = await engine._broker.read(subjects.RUNS, subjects.of_run(run_id, "ev"))
        assert [event.type for event in batch_of(first).events[:2]] == ["queued", "started"]


async def test_the_next_job_comes_before_the_verdict(
    nats: NatsServer,
    settings: Settings,
    taught: Course,
    jobs: Callable[..., JobSpec],
    found: LocalSetup,
    open_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So no processor is idle while a worker stores the end of a run."""
    may_end = anyio.Event()
    store = Attempt._store_artifact

    async def store_late(attempt: Attempt) -> None:
        await may_end.wait()
        await store(attempt)

    monkeypatch.setattr(Attempt, "_store_artifact", store_late)
    own = settings.model_copy(update={"max_runs": 1, "scratch_dir": open_folder / "worker"})
    async with (
        worker_here(nats.url, own, taught, found),
        web(settings, taught, nats.url, workers=1) as engine,
    ):
        runs = [await engine._runs.get(await engine.submit(jobs())) for _ in range(2)]
        assert await eventually_async(lambda: all(run.start() for run in runs))
        assert not any(run.finished() for run in runs)
        may_end.set()
        for run in runs:
            assert assert_complete(await followed(engine, run.id)).status == "ok"


async def test_only_the_holder_of_the_lease_can_say_that_a_run_was_executed(
    nats: NatsServer, settings: Settings, taught: Course, jobs: Callable[..., JobSpec]
) -> None:
    async with web(settings, taught, nats.url) as engine:
        worker = _worker(taught, jobs().toolchain)
        hears_of(engine, worker)
        first, second = [await engine._runs.get(run_id) for run_id in await unserved(engine, jobs)]
        log = await first_lease(engine._broker, first.id, worker.id)
        assert log
        assert log.lease
        assert await eventually_async(lambda: first.lease == log.lease)
        for nonce, placed in (("of an earlier lease", False), (log.lease.nonce, True)):
            await engine._executed(Msg(engine._broker.client, subjects.executed(first.id), data=nonce.encode()))
            assert second.placed is placed


async def unserved(engine: NatsEngine, jobs: Callable[..., JobSpec]) -> list[str]:
    """Submit two runs: the job of one is at the broker for a worker that does not come, one is in the queue here."""
    runs = [await engine.submit(jobs()) for _ in range(2)]
    first, second = [await engine._runs.get(run_id) for run_id in runs]
    assert await eventually_async(lambda: bool(first.given and second.log) and first.sequence is not None)
    return runs


async def test_a_cancelled_run_that_no_worker_has_taken_ends_at_once(
    nats: NatsServer, settings: Settings, taught: Course, jobs: Callable[..., JobSpec]
) -> None:
    async with web(settings, taught, nats.url) as engine:
        with pytest.raises(EngineUnavailableError):
            await engine.submit(jobs())
        hears_of(engine, _worker(taught, jobs().toolchain))
        for run_id in await unserved(engine, jobs):
            await engine.cancel(run_id)
            events = await followed(engine, run_id)
            assert assert_complete(events).status == "cancelled"
            assert isinstance(events[0], Queued)
        assert await engine._broker.read(subjects.JOBS, "job.>") == []


async def test_a_job_that_the_broker_refuses_waits_until_a_run_ends(
    nats: NatsServer, settings: Settings, taught: Course, jobs: Callable[..., JobSpec]
) -> None:
    async with web(settings, taught, nats.url) as engine:
        worker = _worker(taught, jobs().toolchain, slots=2 * subjects.OWNER_JOBS)
        hears_of(engine, worker)
        runs = {await engine.submit(jobs(queue_owner="greedy")) for _ in range(subjects.OWNER_JOBS + 2)}
        with anyio.fail_after(60):
            while len(engine._feed._refused) < 2:  # noqa: ASYNC110 - a feed tells nobody
                await anyio.sleep(0.02)
        refused = [run.id for run in engine._feed._refused]
        await jobs_at_the_broker(engine, subjects.OWNER_JOBS)
        handed = sorted(runs - set(refused))
        # While the end of one is noted, its job may still be there; after the second there is room in any case.
        for run_id in (refused[0], *handed[:2]):
            await engine.cancel(run_id)
            assert assert_complete(await followed(engine, run_id)).status == "cancelled"
        await jobs_at_the_broker(engine, subjects.OWNER_JOBS - 1)
        assert (await engine._runs.get(refused[1])).sequence is not None


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


async def test_nonsense_from_a_worker_harms_no_other_run(
    nats: NatsServer, settings: Settings, taught: Course, jobs: Callable[..., JobSpec], start_worker: StartWorker
) -> None:
    worker = await start_worker()
    done = jobs()
    async with web(settings, taught, nats.url, workers=1) as engine:
        await engine.submit(done)
        events = await followed(engine, done.run_id)
        other = _worker(taught, jobs().toolchain)
        eager = other.model_copy(update={"id": "liar", "slots": -1000})
        log = subjects.of_run(done.run_id, "ev")
        for subject, data, headers in (
            (log, b"\xff", None),
            (log, b'{"type": "output"}', None),
            (log, b"", {"Playground-Built": '{"files": []}'}),
            (log, b"", {"Playground-Built": '{"files": [{"name": "x", "bytes": -1}]}'}),
            (subjects.of_run(done.run_id, "lease"), b"[]", None),
            (subjects.worker("liar"), b"{}", None),
            (subjects.worker("liar"), other.model_dump_json().encode(), None),
            (subjects.worker("liar"), eager.model_dump_json().encode(), None),
        ):
            await engine._broker.publish(subject, data, headers)
        assert assert_complete(await followed(engine, await engine.submit(jobs()))).status == "ok"
        assert [one.id for one in engine._inventory.alive()] == [worker.id]
    async with web(settings, taught, nats.url, workers=1) as engine:
        assert await followed(engine, done.run_id) == events
        assert (await engine._runs.get(done.run_id)).files is None
        assert assert_complete(await followed(engine, await engine.submit(jobs()))).status == "ok"


async def test_an_answer_that_would_fill_the_memory_is_refused(nats: NatsServer) -> None:
    broker = await Broker(nats.url).connect(5)

    async def respond(msg: Msg) -> None:
        await msg.respond(zlib.compress(b"0" * (65 * 1024 * 1024), 9))

    try:
        await broker.subscribe("ask.bomb", respond)
        with pytest.raises(EngineUnavailableError, match="more than"):
            await asks.ask(broker, "ask.bomb", "explain", "1.96", "E0000")
    finally:
        await broker.close()


async def test_a_wish_to_cancel_that_the_broker_missed_is_repeated(
    nats: NatsServer, settings: Settings, taught: Course, jobs: Callable[..., JobSpec]
) -> None:
    async with web(settings, taught, nats.url) as engine:
        hears_of(engine, _worker(taught, jobs().toolchain))
        runs = await unserved(engine, jobs)
        nats.kill()

        async def cancel(run_id: str) -> None:
            with pytest.raises(EngineUnavailableError):
                await engine.cancel(run_id)

        async with anyio.create_task_group() as tasks:
            for run_id in runs:
                tasks.start_soon(cancel, run_id)
        await anyio.to_thread.run_sync(nats.start)
        for run_id in runs:
            assert assert_complete(await followed(engine, run_id)).status == "cancelled"


async def test_a_worker_that_begins_just_now_hears_of_a_wish_to_cancel_once_more(
    nats: NatsServer, settings: Settings, taught: Course, jobs: Callable[..., JobSpec]
) -> None:
    """It may have got the first message before the job, and does not look for it."""
    heard: list[str] = []

    async def note(msg: Msg) -> None:
        heard.append(subject_of(msg))

    async with web(settings, taught, nats.url) as engine:
        hears_of(engine, _worker(taught, jobs().toolchain))
        run = await engine._runs.get((await unserved(engine, jobs))[0])
        log = await first_lease(engine._broker, run.id, "worker")
        assert log
        assert await eventually_async(lambda: run.lease == log.lease)
        await engine._broker.subscribe("run.*.cancel", note)
        run.lease = None
        await engine.cancel(run.id)
        assert await eventually_async(lambda: len(heard) > 1)
        assert set(heard) == {subjects.of_run(run.id, "cancel")}


async def test_a_worker_that_begins_while_a_wish_to_cancel_is_stored_hears_of_it_once_more(
    nats: NatsServer,
    settings: Settings,
    taught: Course,
    jobs: Callable[..., JobSpec],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[str] = []
    async with web(settings, taught, nats.url) as engine:
        hears_of(engine, _worker(taught, jobs().toolchain))
        run = await engine._runs.get((await unserved(engine, jobs))[0])
        publish = engine._broker.publish

        async def publish_and_begin(subject: str, *arguments: Any, **options: Any) -> int:
            stored = await publish(subject, *arguments, **options)
            if subject == subjects.of_run(run.id, "cancel"):
                heard.append(subject)
                run.lease = run.lease or Lease(holder="worker", attempt=1, nonce="")
            return stored

        monkeypatch.setattr(engine._broker, "publish", publish_and_begin)
        await engine.cancel(run.id)
        assert await eventually_async(lambda: len(heard) > 1)


async def test_a_web_that_starts_again_still_wants_a_run_cancelled(
    nats: NatsServer, settings: Settings, taught: Course, jobs: Callable[..., JobSpec]
) -> None:
    async with web(settings, taught, nats.url) as engine:
        hears_of(engine, _worker(taught, jobs().toolchain))
        [run_id, _] = await unserved(engine, jobs)
        await engine._broker.publish(subjects.of_run(run_id, "cancel"))
    async with web(settings, taught, nats.url) as engine:
        assert assert_complete(await followed(engine, run_id)).status == "cancelled"


async def test_a_full_broker_is_named_and_loses_nothing(
    settings: Settings, taught: Course, jobs: Callable[..., JobSpec], tmp_path: Path
) -> None:
    configuration = tmp_path / "small.conf"
    configuration.write_text(CONFIGURATION.read_text().replace("max_file: 8GB", "max_file: 4MB"))
    with nats_server(configuration=configuration) as nats:
        async with web(settings, taught, nats.url) as engine:
            engine._inventory.note(_worker(taught, jobs().toolchain))
            with suppress(EngineUnavailableError):
                for number in range(100):
                    await engine._broker.publish(f"built.junk.0.{number}", b"x" * 100_000, seconds=0)
            assert "refuses to store" in await engine.health()
            await engine._broker.purge(subjects.BUILT, "built.junk.>")
            assert await engine._broker.publish("built.junk.0.0", b"x")


async def test_output_of_any_size_fits_into_messages(nats: NatsServer) -> None:
    text = "\x01" * (1 << 20)  # JSON takes six bytes for each
    broker = await Broker(nats.url).connect(5)
    try:
        await broker.ensure(3600)
        log = await first_lease(broker, "one", "a")
        assert log
        parts = [one.numbered(at) for at, one in enumerate(fitting(Output(stream="stderr", text=text)), 1)]
        await log.append(parts)
        events, _ = await events_of(broker, "one")
        assert events == parts
        assert said(events) == text
    finally:
        await broker.close()


async def test_a_broker_whose_messages_are_too_small_is_named(tmp_path: Path) -> None:
    (tmp_path / "small.conf").write_text(CONFIGURATION.read_text().replace("max_payload: 4MB", "max_payload: 1MB"))
    words_of_it = r"at most 1,048,576 bytes.* Set max_payload: 4194304 "
    small = nats_server(configuration=tmp_path / "small.conf")
    with small as nats, pytest.raises(UnusableBrokerError, match=words_of_it):
        await Broker(nats.url).connect(5)
    assert subjects.largest_message(8 << 20, 1 << 20) == 32 << 20, "as a setting allows larger requests"


async def test_a_broker_that_is_too_old_is_named() -> None:
    """Debian 12 has nats-server 2.9."""
    hello = b'INFO {"server_id": "x", "version": "2.9.10", "proto": 1, "max_payload": 4194304}\r\n'

    async def greet(stream: SocketStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await stream.send(hello)
                while True:
                    await stream.send(b"PONG\r\n" * (await stream.receive()).count(b"PING"))

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, greet)
        port = listener.extra(SocketAttribute.local_port)
        with pytest.raises(UnusableBrokerError, match=r"is nats-server 2\.9\.10; the engine needs 2\.11 or newer"):
            await Broker(f"nats://127.0.0.1:{port}").connect(5)
        tasks.cancel_scope.cancel()


async def test_a_broker_that_is_not_there_is_named() -> None:
    with pytest.raises(UnusableBrokerError, match="cannot be reached"):
        await Broker("nats://127.0.0.1:9").connect(0.5)


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
    same = able.model_copy(update={"id": "five", "version": __version__})
    inventory.note(same)
    assert inventory.able(jobs()) == [same.group, able.group], "the web's own version comes first"
    inventory.leave("five")
    [nightly] = [one.model_copy(update={"commit": "0123abcd"}) for one in able.toolchains]
    assert able.model_copy(update={"toolchains": (nightly,)}).group != able.group, "of the same version"
    assert "(0123abcd)" in table([(able.model_copy(update={"toolchains": (nightly,)}), None)])
    later = able.model_dump() | {"toolchains": [able.toolchains[0].model_dump() | {"news": 1}], "news": 1}
    assert WorkerInfo.model_validate(later) == able, "what a newer version adds is left out"
    assert inventory.groups() == {able.group: 1, other.group: 3}
    assert inventory.isolation == "landlock"
    assert [one.name for one in await inventory.toolchains()] == ["1.0", jobs().toolchain]
    assert words.other_course("three", taught.id) in caplog.text
    now = subjects.WORKER_TTL + 0.1
    inventory.broker.lost_at = 1.0
    assert len(inventory.workers()) == 2, "while the broker is away, no worker can be heard"
    inventory.broker.restored_at = 2.0
    assert len(inventory.workers()) == 2, "nor at once when it is back"
    now += 2.0
    assert inventory.workers() == []
    public = NatsInventory(settings.model_copy(update={"host": "0.0.0.0"}), (taught,), Broker("nats://127.0.0.1:9"))
    public.note(_worker(taught, "1.96", isolation="none"))
    assert public.workers() == []
    assert words.not_isolated("one") in caplog.text


async def test_the_doctor_lists_the_workers_and_fails_if_none_gets_runs(
    nats: NatsServer, taught: Course, start_worker: StartWorker
) -> None:
    async def doctor(*more: str) -> Result:
        ask = partial(CliRunner().invoke, cli, ["doctor", "--engine", nats.url, *more])
        return await anyio.to_thread.run_sync(ask)

    none = await doctor()
    assert (none.exit_code, none.stdout) == (1, f"{words.NO_WORKER}\n")
    broker = await Broker(nats.url).connect(5)
    try:
        await broker.ensure(3600)
        old = _worker(taught, "1.0", id="old", courses={taught.id: "0" * 64})
        await broker.publish(subjects.worker("old"), old.model_dump_json().encode())
        refused = await doctor("--json")
        [told] = json.loads(refused.stdout)["workers"]
        assert (refused.exit_code, told["refused"]) == (1, words.other_course("old", taught.id))
        await broker.publish(subjects.worker("old"))
    finally:
        await broker.close()
    worker = await start_worker()
    done = await doctor("--json")
    [told] = json.loads(done.stdout)["workers"]
    assert (done.exit_code, told["id"], told["slots"], told["refused"]) == (0, worker.id, 1, None)
    done = await doctor()
    assert done.exit_code == 0
    assert done.stdout.startswith(
        f"{worker.id}: ready, 1 at once, isolation {told['isolation']}, version {__version__}\n"
    )
    assert f"  Rust {told['toolchains'][0]['version']}" in done.stdout


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
