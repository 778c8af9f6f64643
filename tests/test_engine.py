"""The engine with the real cargo: event order, queue, expiry, cleaning up, waiting for targets."""

import errno
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import thread_time

import anyio
import pytest

from app.course import Course
from app.course.lesson import Lesson
from app.engine import JobSpec, NoSuchRunError, NothingBuiltError, OwnerQueueFullError, QueueFullError, retention
from app.engine.inventory import LocalInventory, find_setup
from app.engine.local import LocalEngine
from app.engine.log import Run
from app.protocol.command import parse
from app.protocol.events import Artifact, Queued, Started, Verdict
from app.settings import Settings
from app.toolchain import Toolchain
from tests.support.bench import Bench, only, printed, status
from tests.support.files import below
from tests.support.jobs import job as job_of
from tests.support.polling import eventually_async

pytestmark = pytest.mark.anyio

LOOP = 'fn main() { println!("turning"); loop { std::thread::sleep(std::time::Duration::from_secs(1)); } }'


async def test_events_arrive_in_order(bench: Bench, toolchain: Toolchain) -> None:
    events = await bench.run("cargo run")
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert isinstance(events[0], Queued)
    assert events[1] == Started(
        id=2, toolchain=toolchain.name, argv=("cargo", "run"), isolation=bench.engine.inventory.isolation
    )
    assert "Hello" in printed(events)
    artifact = only(Artifact, events)
    assert isinstance(artifact, Artifact)
    assert (artifact.path, artifact.format, artifact.entry_symbol) == ("target/debug/blog_os", "ELF", "_start")
    # An `observed` event comes between them where the system allows tracing.
    ends = [event.type for event in events if event.type != "observed"]
    assert ends[-3:] == ["artifact", "finished", "verdict"]
    verdict = events[-1]
    assert isinstance(verdict, Verdict)
    assert verdict.reached


async def test_a_run_leaves_nothing_but_its_artifact(bench: Bench, settings: Settings) -> None:
    run_id = await bench.submit("cargo build")
    await bench.follow(run_id)

    def left() -> set[str]:
        return {path.name for path in below(settings.scratch_dir) if path.is_file()}

    # A thread removes the rest after the verdict. Once, on a busy machine, it was half done after 10 s.
    await eventually_async(lambda: left() == {"program"}, 60)
    assert left() == {"program"}
    assert bench.engine._runs.built(run_id).file.is_file()


async def test_runs_wait_their_turn_and_see_their_position(
    settings: Settings, taught: Course, lessons: dict[str, Lesson], toolchain: Toolchain
) -> None:
    narrow = settings.model_copy(update={"max_runs": 1, "queue_length": 2})
    async with LocalEngine(narrow, (taught,)) as engine:
        bench = Bench(engine, lessons["hello-std"], toolchain)
        first = await bench.submit("cargo run", source=LOOP)
        second, third = await bench.submit("cargo build"), await bench.submit("cargo build")
        assert [(await engine.status(run)).state for run in (first, second, third)] == ["running", "queued", "queued"]
        with pytest.raises(QueueFullError):
            await bench.submit("cargo build")
        await bench.until(first, "turning")
        await engine.cancel(first)
        events = await bench.follow(third)
        # A change is told at most twice a second, so the run may start before the second one.
        assert [e.position for e in events if isinstance(e, Queued)] in ([1], [1, 0])
        assert (await engine.status(second)).state == "done"


async def test_a_queued_run_can_be_cancelled(
    settings: Settings, taught: Course, lessons: dict[str, Lesson], toolchain: Toolchain
) -> None:
    async with LocalEngine(settings.model_copy(update={"max_runs": 1}), (taught,)) as engine:
        bench = Bench(engine, lessons["hello-std"], toolchain)
        await bench.submit("cargo run", source=LOOP)
        waiting = await bench.submit("cargo build")
        await engine.cancel(waiting)
        assert [event.type for event in await bench.follow(waiting)] == ["queued", "finished", "verdict"]


async def test_an_attended_run_without_a_reader_is_cancelled(
    settings: Settings, taught: Course, lessons: dict[str, Lesson], toolchain: Toolchain
) -> None:
    async with LocalEngine(settings.model_copy(update={"reader_seconds": 1.0}), (taught,)) as engine:
        bench = Bench(engine, lessons["hello-std"], toolchain)
        unread = await bench.submit("cargo run", source=LOOP, attended=True)
        read = await bench.submit("cargo run", source=LOOP, attended=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.follow, read)
            await eventually_async(lambda: engine._runs[unread].state == "done")
            await anyio.sleep(0.6)  # longer than the engine's tick
            assert [(await engine.status(run)).state for run in (unread, read)] == ["done", "running"]
            tasks.cancel_scope.cancel()
        finished = (await engine.status(unread)).finished
        assert finished
        assert finished.status == "cancelled"


async def test_events_are_replayed_from_any_point(bench: Bench) -> None:
    run_id = await bench.submit("cargo build")
    events = await bench.follow(run_id)
    for after in range(len(events)):
        assert [event async for event in bench.engine.events(run_id, after)] == events[after:]


async def test_a_later_run_can_inspect_the_artifact(bench: Bench) -> None:
    run_id = await bench.submit("cargo build")
    await bench.follow(run_id)
    events = await bench.run("readelf -h target/debug/blog_os", after=run_id)
    assert "ELF64" in printed(events)
    failed = await bench.submit("cargo build", source="fn main() {")
    await bench.follow(failed)
    with pytest.raises(NothingBuiltError):
        await bench.submit("readelf -h target/debug/blog_os", after=failed)
    with pytest.raises(NoSuchRunError):
        await bench.submit("readelf -h target/debug/blog_os", after="0" * 32)


async def test_a_toolchain_that_has_gone_is_a_clear_error(
    settings: Settings, taught: Course, lessons: dict[str, Lesson], toolchain: Toolchain
) -> None:
    gone = replace(toolchain, cargo=Path("/nowhere/cargo"))
    found = replace(await find_setup(settings), toolchains=(gone,))
    async with LocalEngine(settings, (taught,), found=found) as engine:
        events = await Bench(engine, lessons["hello-std"], gone).run("cargo build")
        assert status(events) == "failed"
        assert "cannot be started" in printed(events)
        assert "Traceback" not in printed(events)
        events = await Bench(engine, lessons["hello-std"], replace(gone, name="0.1")).run("cargo build")
        assert status(events) == "failed"
        assert "Rust 0.1 is not on this machine" in printed(events)


async def test_what_a_killed_engine_left_is_removed_and_a_living_one_kept(settings: Settings, taught: Course) -> None:
    runs = settings.scratch_dir
    runs.mkdir(mode=0o700)
    (runs / "server-dead" / "1").mkdir(parents=True)
    async with LocalEngine(settings, (taught,)), LocalEngine(settings, (taught,)):
        names = [path.name for path in runs.iterdir()]
        assert len(names) == 2
        assert "server-dead" not in names
    assert list(runs.iterdir()) == []


async def expired(engine: LocalEngine, run_id: str) -> None:
    """Wait a few seconds until the run and its artifact are gone."""
    kept = engine._runs.built(run_id).file
    assert await eventually_async(lambda: not kept.parent.exists())
    with pytest.raises(NoSuchRunError):
        await engine.status(run_id)


async def test_a_finished_run_expires_with_its_artifact(
    settings: Settings, taught: Course, lessons: dict[str, Lesson], toolchain: Toolchain
) -> None:
    async with LocalEngine(settings.model_copy(update={"run_ttl": 0.5}), (taught,)) as engine:
        bench = Bench(engine, lessons["hello-std"], toolchain)
        run_id = await bench.submit("cargo build")
        await bench.follow(run_id)
        await expired(engine, run_id)


async def test_a_slow_reader_does_not_keep_a_run_alive(
    settings: Settings, taught: Course, lessons: dict[str, Lesson], toolchain: Toolchain
) -> None:
    async with LocalEngine(settings.model_copy(update={"run_ttl": 0.5}), (taught,)) as engine:
        bench = Bench(engine, lessons["hello-std"], toolchain)
        run_id = await bench.submit("cargo build")
        await bench.follow(run_id)
        reader = engine.events(run_id)
        assert (await anext(reader)).id == 1
        await expired(engine, run_id)
        with pytest.raises(NoSuchRunError):
            await anext(reader)


async def test_a_forgotten_owners_runs_are_deleted(bench: Bench) -> None:
    mine = [await bench.submit("cargo build", owner="me"), await bench.submit("cargo run", source=LOOP, owner="me")]
    other = await bench.submit("cargo build", owner="other")
    await bench.follow(mine[0])
    kept = bench.engine._runs.built(mine[0]).file
    await bench.engine.forget("me")
    for run_id in mine:
        with pytest.raises(NoSuchRunError):
            await bench.engine.status(run_id)
    assert not kept.parent.exists()
    assert await bench.follow(other)


def test_runs_lie_where_the_users_own_cargo_configuration_does_not_reach() -> None:
    assert not Settings().scratch_dir.is_relative_to(Path.home())


async def test_a_scratch_folder_that_others_could_change_is_refused(settings: Settings, taught: Course) -> None:
    settings.scratch_dir.mkdir()
    settings.scratch_dir.chmod(0o777)
    with pytest.raises(PermissionError, match="PLAYGROUND_SCRATCH_DIR"):
        async with LocalEngine(settings, (taught,)):
            pass


async def test_a_configuration_above_the_runs_is_warned_of(
    settings: Settings, taught: Course, caplog: pytest.LogCaptureFixture
) -> None:
    above = settings.scratch_dir.parent / ".cargo" / "config.toml"
    above.parent.mkdir()
    above.touch()
    async with LocalEngine(settings, (taught,)):
        assert str(above) in caplog.text


WAITS = "0.1"
"""The toolchain whose jobs wait for a target."""
Prepare = Callable[[Callable[[str], None]], Awaitable[str]]


class Waiting(LocalInventory):
    """An inventory in which the jobs of ``WAITS`` wait; ``prepare`` returns the toolchain that runs them."""

    def __init__(self, settings: Settings, courses: tuple[Course, ...], prepare: Prepare) -> None:
        super().__init__(settings, courses)
        self._prepare = prepare

    def pending(self, job: JobSpec) -> tuple[str, ...]:
        return ("made-up",) if job.toolchain == WAITS else ()

    async def prepared(self, job: JobSpec, targets: Sequence[str], say: Callable[[str], None]) -> str:
        assert (job.toolchain, targets) == (WAITS, ("made-up",))
        return await self._prepare(say)


def waiting(settings: Settings, taught: Course, prepare: Prepare) -> LocalEngine:
    """Return an engine in which the jobs of ``WAITS`` wait."""
    return LocalEngine(settings, (taught,), inventory=Waiting(settings, (taught,), prepare), on_demand=True)


async def test_a_run_that_waits_for_its_target_does_not_delay_others(
    settings: Settings, taught: Course, lessons: dict[str, Lesson], toolchain: Toolchain
) -> None:
    there = anyio.Event()

    async def prepare(say: Callable[[str], None]) -> str:
        say("wait for it")
        await there.wait()
        return toolchain.name

    narrow = settings.model_copy(update={"max_runs": 1, "queue_length": 2})
    async with waiting(narrow, taught, prepare) as engine:
        bench = Bench(engine, lessons["hello-std"], replace(toolchain, name=WAITS))
        held = await bench.submit("cargo build", attended=True)
        dropped = await bench.submit("cargo build")
        with pytest.raises(QueueFullError):
            await bench.submit("cargo build")
        await anyio.wait_all_tasks_blocked()
        assert (await engine.status(held)).preparing
        assert not (await engine.status(held)).job.attended, "nobody follows it without scripts"
        await engine.cancel(dropped)
        log = await bench.follow(dropped)
        assert [event.type for event in log] == ["queued", "output", "finished", "verdict"]
        assert status(log) == "cancelled"
        other = Bench(engine, lessons["hello-std"], toolchain)
        assert status(await other.run("cargo build")) == "ok"
        assert (await engine.status(held)).state == "queued"
        there.set()
        log = await bench.follow(held)
        assert [event.type for event in log[:4]] == ["queued", "output", "queued", "started"]
        started = next(event for event in log if isinstance(event, Started))
        assert started.toolchain == toolchain.name, "the one that has it"
        assert status(log) == "ok"
        assert not (await engine.status(held)).preparing
        assert (await engine.status(held)).job.toolchain == toolchain.name


async def test_the_owner_of_the_most_runs_loses_the_oldest_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = await bench.submit("rustc --version", owner="me")
    await bench.follow(mine)
    monkeypatch.setattr(retention, "_MOST_KEPT", 4)
    others = [await bench.submit("rustc --version", owner="other") for _ in range(6)]
    for run_id in others:
        with suppress(NoSuchRunError):  # the first ones may have gone already
            await bench.follow(run_id)
    await eventually_async(lambda: len(bench.engine._runs._runs) == 4)
    assert (await bench.engine.status(mine)).state == "done", "the oldest, but not of whoever takes most"
    with pytest.raises(NoSuchRunError):
        await bench.engine.status(others[0])
    assert (await bench.engine.status(others[-1])).state == "done"


async def test_owners_take_turns_and_leave_the_last_slot_to_others(
    settings: Settings, taught: Course, lessons: dict[str, Lesson], toolchain: Toolchain
) -> None:
    narrow = settings.model_copy(update={"max_runs": 2, "owner_queue_length": 2})
    async with LocalEngine(narrow, (taught,)) as engine:
        bench = Bench(engine, lessons["hello-std"], toolchain)
        await engine.note_presence("other")
        hog = [await bench.submit("cargo run", source=LOOP, queue_owner="hog") for _ in range(3)]
        with pytest.raises(OwnerQueueFullError):
            await bench.submit("cargo run", queue_owner="hog")
        assert [(await engine.status(run)).state for run in hog] == ["running", "queued", "queued"]
        assert status(await bench.run("rustc --version", queue_owner="other")) == "ok"
        assert status(await bench.run("rustc --version")) == "ok", "without an owner, as of the command line"
        assert [(await engine.status(run)).state for run in hog] == ["running", "queued", "queued"]
        for seen in engine._dispatcher.queue._owners._seen.values():
            seen.clear()  # the others have been away for a long time
        with anyio.fail_after(60):
            await bench.until(hog[1], "turning")
        assert (await engine.status(hog[2])).state == "queued"


async def test_runs_on_hold_count_to_their_owner(
    settings: Settings, taught: Course, lessons: dict[str, Lesson], toolchain: Toolchain
) -> None:
    async def prepare(_say: Callable[[str], None]) -> str:
        await anyio.sleep_forever()
        return WAITS

    async with waiting(settings.model_copy(update={"owner_queue_length": 2}), taught, prepare) as engine:
        holds = Bench(engine, lessons["hello-std"], replace(toolchain, name=WAITS))
        bench = Bench(engine, lessons["hello-std"], toolchain)
        held = [await holds.submit("cargo build", queue_owner="hog") for _ in range(2)]
        with pytest.raises(OwnerQueueFullError):
            await holds.submit("cargo build", queue_owner="hog")
        assert status(await bench.run("rustc --version", queue_owner="other")) == "ok"
        await engine.cancel(held[0])
        assert status(await bench.follow(held[0])) == "cancelled"
        assert status(await bench.run("rustc --version", queue_owner="hog")) == "ok"
        many = [await bench.submit("rustc --version") for _ in range(20)]
        assert [status(await bench.follow(run)) for run in many] == ["ok"] * 20, "this machine has no bound of its own"


async def test_a_run_that_cannot_be_prepared_ends_alone(
    settings: Settings,
    taught: Course,
    lessons: dict[str, Lesson],
    toolchain: Toolchain,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fails(_say: Callable[[str], None]) -> str:
        raise OSError(errno.ENOSPC, "no space left")

    async with waiting(settings, taught, fails) as engine:
        log = await Bench(engine, lessons["hello-std"], replace(toolchain, name=WAITS)).run("cargo build")
        assert status(log) == "failed"
        assert "could not prepare" in printed(log)
        assert "no space left" in caplog.text
        assert status(await Bench(engine, lessons["hello-std"], toolchain).run("rustc --version")) == "ok"


async def test_a_cancelled_run_does_not_line_up(
    settings: Settings, taught: Course, lessons: dict[str, Lesson], toolchain: Toolchain
) -> None:
    runs: list[str] = []
    engines: list[LocalEngine] = []

    async def prepare(_say: Callable[[str], None]) -> str:
        await engines[0].cancel(runs[0])
        return toolchain.name

    async with waiting(settings, taught, prepare) as engine:
        engines.append(engine)
        bench = Bench(engine, lessons["hello-std"], replace(toolchain, name=WAITS))
        runs.append(await bench.submit("cargo build"))
        assert status(await bench.follow(runs[0])) == "cancelled"


async def test_many_changes_of_the_queue_become_one_event(
    settings: Settings,
    taught: Course,
    lessons: dict[str, Lesson],
    toolchain: Toolchain,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with LocalEngine(settings.model_copy(update={"max_runs": 1}), (taught,)) as engine:
        bench = Bench(engine, lessons["hello-std"], toolchain)
        first = await bench.submit("cargo run", source=LOOP)
        waiting = [await bench.submit("cargo build") for _ in range(100)]

        def told() -> list[int]:
            return [event.position for event in engine._runs[waiting[-1]].log if isinstance(event, Queued)]

        with monkeypatch.context() as patched:
            patched.setattr(engine._dispatcher, "tick", lambda: None)  # none comes between the changes
            for run in waiting[:-1]:
                await engine.cancel(run)
        await eventually_async(lambda: told()[-1] == 0)
        await engine.cancel(waiting[-1])
        assert told() == [99, 0]
        await engine.cancel(first)


async def test_the_first_event_costs_the_same_with_a_thousand_finished_runs(
    settings: Settings, taught: Course, lessons: dict[str, Lesson], toolchain: Toolchain
) -> None:
    async with LocalEngine(settings, (taught,)) as engine:
        engine._dispatcher.queue.resize(0)  # nothing starts
        bench = Bench(engine, lessons["hello-std"], toolchain)

        async def cost() -> float:
            """Return the processor time of a few posts, each up to its first event."""
            began = thread_time()
            runs = [await bench.submit("cargo build") for _ in range(20)]
            for run in runs:
                assert isinstance(await anext(engine.events(run)), Queued)
            spent = thread_time() - began
            for run in runs:
                await engine.discard(run)
            return spent

        few = min([await cost() for _ in range(5)])
        job = job_of(lessons["hello-std"], {}, parse("cargo build"), toolchain)
        for number in range(1000):
            run = Run(job.model_copy(update={"run_id": f"{number}", "owner": f"seat {number % 50}"}))
            run.end(Verdict(reached=False, checks=()))
            engine._runs.add(run)
        many = min([await cost() for _ in range(5)])
        assert len(engine._runs._runs) == 1000
        assert many < 2 * few
