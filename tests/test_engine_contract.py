"""The promises of every engine, tested on the local engine and on one in a second process."""

import hashlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import anyio
import pytest
from pydantic import TypeAdapter

from app.course import Lesson, load_shelf
from app.engine import (
    ArtifactDetails,
    Engine,
    JobSpec,
    NoSuchRunError,
    NothingBuiltError,
    OnVerdict,
    QueueFullError,
    RunStatus,
)
from app.engine.local import LocalEngine
from app.engine.log import Run
from app.engine.nats.broker import Broker
from app.engine.nats.engine import NatsEngine
from app.engine.nats.inventory import NatsInventory
from app.engine.queue import FairQueue
from app.protocol.command import parse
from app.protocol.events import Artifact, Event, Finished, Output, Queued, Started, Verdict
from app.settings import Settings
from app.stepper import NotSteppedError
from app.toolchain import Toolchain, preferred
from tests.support.broker import WorkerProcess, nats_server
from tests.support.environment import BARE_METAL, EVERYTHING
from tests.support.jobs import job
from tests.support.remote import remote

pytestmark = pytest.mark.anyio

LOOP = 'fn main() { println!("turning"); loop { std::thread::sleep(std::time::Duration::from_secs(1)); } }'


LEAST = 19
"""The niceness of a run that yields the processors."""
NICE = """extern "C" { fn getpriority(which: i32, who: u32) -> i32; }

fn main() {
    for _ in 0..LOOKS {
        if unsafe { getpriority(0, 0) } == 19 { break; }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    println!("nice {}", unsafe { getpriority(0, 0) });
}
"""
"""A program that prints its niceness: 19 once it has that, otherwise after so many looks."""


@dataclass
class Made:
    """An engine, a function that kills whatever runs its jobs, and the queue of an engine that is not elsewhere."""

    engine: Engine
    die: Callable[[], object]
    level: str = "auto"
    queue: FairQueue[Run] | None = None


Start = Callable[..., AbstractAsyncContextManager[Made]]


async def _nothing(_job: JobSpec, _events: Sequence[Event], _verdict: Verdict) -> None:
    """Keep no progress."""


@asynccontextmanager
async def local(settings: Settings, on_verdict: OnVerdict) -> AsyncIterator[Made]:
    async with LocalEngine(settings, load_shelf(settings.lessons_dir).courses, on_verdict) as engine:
        yield Made(engine, engine._tasks.end, queue=engine._dispatcher.queue)


@asynccontextmanager
async def in_a_second_process(settings: Settings, on_verdict: OnVerdict) -> AsyncIterator[Made]:
    async with remote(settings, on_verdict) as engine:
        assert engine.process.pid != os.getpid()
        yield Made(engine, engine.process.kill)


@asynccontextmanager
async def on_nats(settings: Settings, on_verdict: OnVerdict) -> AsyncIterator[Made]:
    """A broker and a worker in processes of their own; the engine here only accepts jobs and copies logs."""
    settings = settings.model_copy(update={"worker_seconds": 1.0})
    courses = load_shelf(settings.lessons_dir).courses
    with nats_server() as server:
        inventory = NatsInventory(settings, courses, Broker(server.url))
        async with NatsEngine(settings, inventory, on_verdict) as engine:
            begin = partial(WorkerProcess, server.url, settings.scratch_dir, settings.max_runs)
            process = await anyio.to_thread.run_sync(partial(begin, PLAYGROUND_ISOLATION=settings.isolation))
            try:
                await until_there(inventory)
                [group] = engine._feed.groups()
                yield Made(engine, process.kill, settings.isolation, engine._feed.dispatcher_of(group).queue)
            finally:
                process.kill()


@asynccontextmanager
async def on_nats_at_landlock(settings: Settings, on_verdict: OnVerdict) -> AsyncIterator[Made]:
    async with on_nats(settings.model_copy(update={"isolation": "landlock"}), on_verdict) as made:
        yield made


@asynccontextmanager
async def on_nats_at_namespaces(settings: Settings, on_verdict: OnVerdict) -> AsyncIterator[Made]:
    async with on_nats(settings.model_copy(update={"isolation": "namespaces"}), on_verdict) as made:
        yield made


ENGINES = {"local": local, "remote": in_a_second_process, "nats": on_nats}
if EVERYTHING:
    ENGINES |= {"nats-landlock": on_nats_at_landlock, "nats-namespaces": on_nats_at_namespaces}


async def until_there(inventory: NatsInventory) -> None:
    """Wait for a worker."""
    with anyio.fail_after(60):
        while not inventory.workers():  # noqa: ASYNC110 - an inventory tells nobody
            await anyio.sleep(0.02)


@pytest.fixture(params=ENGINES.values(), ids=list(ENGINES))
def start(request: pytest.FixtureRequest, settings: Settings) -> Start:
    def started(on_verdict: OnVerdict = _nothing, **changed: object) -> AbstractAsyncContextManager[Made]:
        made: AbstractAsyncContextManager[Made] = request.param(settings.model_copy(update=changed), on_verdict)
        return made

    return started


@pytest.fixture
def jobs(lessons: dict[str, Lesson], toolchains: tuple[Toolchain, ...]) -> Callable[..., JobSpec]:
    lesson, toolchain = lessons["hello-std"], preferred(toolchains, None)
    assert toolchain

    def made(command: str = "cargo build", main: str | None = None, **more: object) -> JobSpec:
        files = {**lesson.files, **({"src/main.rs": main} if main else {})}
        return job(lesson, files, parse(command), toolchain, **more)

    return made


async def followed(engine: Engine, run_id: str) -> list[Event]:
    with anyio.fail_after(60):
        return [event async for event in engine.events(run_id)]


async def until(engine: Engine, run_id: str, text: str) -> None:
    with anyio.fail_after(60):
        async for event in engine.events(run_id):
            if isinstance(event, Output) and text in event.text:
                return


async def dropped(engine: Engine, run_id: str) -> None:
    """Poll the run until ``NoSuchRunError`` is raised."""
    while (await engine.status(run_id)).id == run_id:  # noqa: ASYNC110 - an engine tells nobody that it drops a run
        await anyio.sleep(0.2)


def said(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Output))


def finished(events: list[Event]) -> Finished:
    """Return the one ``finished`` event, which one verdict follows."""
    assert [event.type for event in events if event.type in ("finished", "verdict")] == ["finished", "verdict"]
    assert isinstance(events[-1], Verdict)
    [found] = [event for event in events if isinstance(event, Finished)]
    return found


async def test_events_come_in_order_and_are_replayed_from_any_point(start: Start, jobs: Callable[..., JobSpec]) -> None:
    spec = jobs("cargo run")
    async with start() as made:
        assert await made.engine.submit(spec) == spec.run_id
        events = await followed(made.engine, spec.run_id)
        assert [event.id for event in events] == list(range(1, len(events) + 1))
        assert isinstance(events[0], Queued)
        assert isinstance(events[1], Started)
        assert made.level in ("auto", events[1].isolation)
        assert [event.type for event in events if event.type != "observed"][-3:] == ["artifact", "finished", "verdict"]
        assert finished(events).status == "ok"
        for after in range(len(events)):
            assert [event async for event in made.engine.events(spec.run_id, after)] == events[after:]
        status = await made.engine.status(spec.run_id)
        assert (status.state, status.finished, status.verdict) == ("done", events[-2], events[-1])
        assert status.job == spec
        assert RunStatus.model_validate_json(status.model_dump_json()) == status


async def test_a_job_that_is_submitted_twice_runs_once(start: Start, jobs: Callable[..., JobSpec]) -> None:
    spec = jobs("rustc --version")
    async with start() as made:
        assert await made.engine.submit(spec) == await made.engine.submit(spec) == spec.run_id
        assert sum(isinstance(event, Started) for event in await followed(made.engine, spec.run_id)) == 1


async def test_runs_are_cancelled_while_they_run_and_while_they_wait(
    start: Start, jobs: Callable[..., JobSpec]
) -> None:
    async with start(max_runs=1, queue_length=1) as made:
        running = await made.engine.submit(jobs("cargo run", LOOP))
        await until(made.engine, running, "turning")
        waiting = await made.engine.submit(jobs())
        with pytest.raises(QueueFullError):
            await made.engine.submit(jobs())
        assert (await made.engine.status(waiting)).state == "queued"
        for run_id in (waiting, running):
            await made.engine.cancel(run_id)
            assert finished(await followed(made.engine, run_id)).status == "cancelled"
            await made.engine.cancel(run_id)
        with pytest.raises(NoSuchRunError):
            await made.engine.cancel("0" * 32)


@pytest.mark.parametrize("start", [local, on_nats], ids=["local", "nats"], indirect=True)
async def test_a_run_of_an_owner_whose_runs_take_long_yields_from_its_start(
    start: Start, jobs: Callable[..., JobSpec]
) -> None:
    async with start(max_runs=2) as made:
        assert made.queue
        made.queue.note_long("endless")
        runs = [
            await made.engine.submit(jobs("cargo run", NICE.replace("LOOKS", looks), queue_owner=owner))
            for owner, looks in (("endless", "1000"), ("honest", "10"))
        ]
        yields, does_not = [said(await followed(made.engine, run_id)) for run_id in runs]
    assert yields.endswith(f"nice {LEAST}\n")
    nicer = os.getpriority(os.PRIO_PROCESS, 0) + 10 >= LEAST  # these tests have a low priority themselves
    assert not does_not.endswith(f"nice {LEAST}\n") or nicer


async def test_an_unattended_run_is_cancelled(start: Start, jobs: Callable[..., JobSpec]) -> None:
    async with start(reader_seconds=0.5) as made:
        run_id = await made.engine.submit(jobs("cargo run", LOOP, attended=True))
        with anyio.fail_after(60):
            while (await made.engine.status(run_id)).state != "done":  # noqa: ASYNC110 - no reader, or it is attended
                await anyio.sleep(0.2)
        assert finished(await followed(made.engine, run_id)).status == "cancelled"


async def test_what_was_built_can_be_had_and_looked_into(start: Start, jobs: Callable[..., JobSpec]) -> None:
    async with start() as made:
        first = await made.engine.submit(jobs(owner="me"))
        await followed(made.engine, first)
        run_id = await made.engine.submit(jobs("cargo build --release", owner="me"))
        [artifact] = [event for event in await followed(made.engine, run_id) if isinstance(event, Artifact)]
        file = await made.engine.artifact(run_id)
        assert (file.path, file.bytes) == (artifact.path, artifact.bytes)
        data = b"".join([piece async for piece in made.engine.artifact_bytes(run_id)])
        assert hashlib.sha256(data).hexdigest() == artifact.sha256
        artifact_details = await made.engine.artifact_details(run_id)
        assert [(one.run_id, one.lesson) for one in artifact_details.earlier] == [(first, "hello-std")]
        assert artifact_details.card == await made.engine.card(run_id)
        adapter = TypeAdapter(ArtifactDetails)
        assert adapter.validate_json(adapter.dump_json(artifact_details)) == artifact_details
        with pytest.raises(NotSteppedError, match="shared"):
            await made.engine.steps(run_id)
        looked = await made.engine.submit(jobs("readelf -h target/debug/blog_os", after=first))
        assert finished(await followed(made.engine, looked)).status == "ok"


async def test_what_was_built_is_executed_step_by_step(
    start: Start, lessons: dict[str, Lesson], bare_metal: Toolchain
) -> None:
    lesson = lessons["bare-metal"]
    async with start() as made:
        spec = job(lesson, lesson.solution, parse(f"cargo build --target {BARE_METAL}"), bare_metal)
        assert finished(await followed(made.engine, await made.engine.submit(spec))).status == "ok"
        trace = await made.engine.steps(spec.run_id)
        assert (trace.machine, trace.end.kind, trace.steps[-1].function) == ("ARM", "loops", "_start")
        card = await made.engine.card(spec.run_id)
        assert card
        assert card.facts.machine == "ARM"


async def test_of_a_run_that_built_nothing_there_is_nothing(start: Start, jobs: Callable[..., JobSpec]) -> None:
    async with start() as made:
        run_id = await made.engine.submit(jobs("rustc --version"))
        await followed(made.engine, run_id)
        assert await made.engine.card(run_id) is None
        for answer in (made.engine.artifact(run_id), made.engine.artifact_details(run_id), made.engine.steps(run_id)):
            with pytest.raises(NothingBuiltError):
                await answer
        with pytest.raises(NothingBuiltError):
            await anext(made.engine.artifact_bytes(run_id))
        with pytest.raises(NothingBuiltError):
            await made.engine.submit(jobs("readelf -h target/debug/blog_os", after=run_id))


async def test_a_forgotten_owners_runs_are_deleted(start: Start, jobs: Callable[..., JobSpec]) -> None:
    async with start() as made:
        mine = [await made.engine.submit(one) for one in (jobs(owner="me"), jobs("cargo run", LOOP, owner="me"))]
        other = await made.engine.submit(jobs("rustc --version", owner="other"))
        await until(made.engine, mine[1], "turning")
        await made.engine.forget("me")
        for run_id in mine:
            with pytest.raises(NoSuchRunError):
                await made.engine.status(run_id)
        assert finished(await followed(made.engine, other)).status == "ok"


async def test_a_run_expires_and_a_slow_reader_does_not_keep_it(start: Start, jobs: Callable[..., JobSpec]) -> None:
    async with start(run_ttl=0.5) as made:
        run_id = await made.engine.submit(jobs("rustc --version"))
        reader = made.engine.events(run_id)
        assert (await anext(reader)).id == 1
        with anyio.fail_after(60), pytest.raises(NoSuchRunError):
            await dropped(made.engine, run_id)
        last: Event | None = None
        with anyio.fail_after(30):
            try:
                async for event in reader:
                    last = event
            except NoSuchRunError:
                pass
            else:
                # Bytes that a remote engine has already sent are still read.
                assert isinstance(last, Verdict)
        with pytest.raises(NoSuchRunError):
            await anext(made.engine.events(run_id))


async def test_progress_is_stored_before_any_reader_sees_the_verdict(
    start: Start, jobs: Callable[..., JobSpec]
) -> None:
    storing, stored = anyio.Event(), anyio.Event()
    told: list[tuple[JobSpec, tuple[Event, ...], Verdict]] = []

    async def store(spec: JobSpec, events: Sequence[Event], verdict: Verdict) -> None:
        told.append((spec, tuple(events), verdict))
        storing.set()
        await stored.wait()

    spec = jobs("cargo run", owner="me")
    seen: list[Event] = []
    async with start(store) as made, anyio.create_task_group() as tasks:

        async def read() -> None:
            seen.extend(await followed(made.engine, spec.run_id))

        await made.engine.submit(spec)
        tasks.start_soon(read)
        with anyio.fail_after(60):
            await storing.wait()
        status = await made.engine.status(spec.run_id)
        assert (status.state, status.verdict, seen) == ("running", None, [])
        stored.set()
    [(told_of, events, verdict)] = told
    assert told_of == spec
    assert seen == [*events, verdict.numbered(len(events) + 1)]
    assert verdict.reached


async def test_a_job_of_another_edition_of_the_course_is_not_judged_by_this_one(
    start: Start, jobs: Callable[..., JobSpec]
) -> None:
    spec = jobs("cargo run")
    async with start() as made:
        for changed in ({"digest": "0" * 64}, {"course": "no-such-course"}, {"lesson": "no-such-lesson"}):
            run_id = await made.engine.submit(spec.model_copy(update={"run_id": next(iter(changed)), **changed}))
            events = await followed(made.engine, run_id)
            assert finished(events).status == "failed"
            assert events[-1] == Verdict(id=events[-1].id, reached=False, checks=())
            assert "The course has changed" in "".join(one.text for one in events if isinstance(one, Output))
        assert await made.engine.health() == "ok", "no fault of the machine's"


# With a broker, the runs go on without the web, and tests/test_nats.py follows them through its restart.
@pytest.mark.parametrize("start", [local, in_a_second_process], ids=["local", "remote"], indirect=True)
async def test_a_stop_lets_short_runs_end_and_says_why_the_others_did_not(
    start: Start, jobs: Callable[..., JobSpec]
) -> None:
    async with start(max_runs=1) as made:
        quick = await made.engine.submit(jobs("rustc --version"))
        running = await made.engine.submit(jobs("cargo run", LOOP))
        waiting = await made.engine.submit(jobs())
        assert finished(await followed(made.engine, quick)).status == "ok"
        await until(made.engine, running, "turning")
        await made.engine.stop()
        for run_id in (running, waiting):
            end = finished(await followed(made.engine, run_id))
            assert (end.status, end.reason) == ("cancelled", "restarted")
        late = await made.engine.submit(jobs("rustc --version"))
        assert finished(await followed(made.engine, late)).reason == "restarted"


@pytest.mark.parametrize("start", [local, in_a_second_process], ids=["local", "remote"], indirect=True)
async def test_a_stop_waits_for_a_run_that_is_about_to_end(start: Start, jobs: Callable[..., JobSpec]) -> None:
    brief = LOOP.replace("loop {", "{").replace("secs(1)", "millis(300)")
    async with start(max_runs=1, drain_seconds=60.0) as made:
        running = await made.engine.submit(jobs("cargo run", brief))
        await until(made.engine, running, "turning")
        await made.engine.stop()
        end = finished(await followed(made.engine, running))
        assert (end.status, end.exit_code, end.reason) == ("ok", 0, None)


async def test_each_accepted_run_ends_once_when_the_engine_dies_in_the_middle(
    start: Start, jobs: Callable[..., JobSpec]
) -> None:
    async with start(max_runs=1) as made:
        done = await made.engine.submit(jobs("rustc --version"))
        before = await followed(made.engine, done)
        running = await made.engine.submit(jobs("cargo run", LOOP))
        await until(made.engine, running, "turning")
        waiting = await made.engine.submit(jobs())
        made.die()
        for run_id in (running, waiting):
            events = await followed(made.engine, run_id)
            end = finished(events)
            assert (end.status, end.exit_code, end.reason) == ("failed", None, "engine-lost")
            assert "Run it again" in "".join(one.text for one in events if isinstance(one, Output))
            assert [event.id for event in events] == list(range(1, len(events) + 1))
            status = await made.engine.status(run_id)
            assert (status.state, status.finished, status.verdict) == ("done", end, events[-1])
        assert await followed(made.engine, done) == before
        assert finished(before).reason is None
        assert await made.engine.health() != "ok"
