"""The engine and the runner under it, with the real cargo: order, queue, cancel, limits, what is left behind."""

import errno
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from app.course import Course
from app.course.lessons import Lesson
from app.engine import JobSpec, NoSuchRunError, NothingBuiltError, OwnerQueueFullError, QueueFullError, retention
from app.engine.inventory import LocalInventory, find_setup
from app.engine.local import LocalEngine
from app.protocol.command import parse
from app.protocol.events import Artifact, Diagnostic, Event, Finished, Output, Queued, Started, Verdict
from app.settings import Settings
from app.toolchain import Toolchain, preferred
from tests.conftest import below
from tests.jobs import job as job_of

pytestmark = pytest.mark.anyio

LOOP = 'fn main() { println!("turning"); loop { std::thread::sleep(std::time::Duration::from_secs(1)); } }'
DAEMON = """use std::process::Command;
fn main() {
    Command::new("sleep").arg("MARK").spawn().unwrap();
    println!("spawned");
    loop { std::thread::sleep(std::time::Duration::from_secs(1)); }
}"""


@pytest.fixture
def toolchain(toolchains: tuple[Toolchain, ...]) -> Toolchain:
    chosen = preferred(toolchains, None)
    assert chosen
    return chosen


@pytest.fixture
async def engine(settings: Settings, taught: Course) -> AsyncIterator[LocalEngine]:
    async with LocalEngine(settings, (taught,)) as engine:
        yield engine


class Bench:
    """Makes jobs of one lesson and collects what they say."""

    def __init__(self, engine: LocalEngine, lesson: Lesson, toolchain: Toolchain) -> None:
        self.engine = engine
        self._lesson = lesson
        self._toolchain = toolchain

    async def submit(
        self, command: str, *, source: str | None = None, manifest: str | None = None, **more: object
    ) -> str:
        files = dict(self._lesson.files)
        files |= {"src/main.rs": source} if source is not None else {}
        files |= {"Cargo.toml": manifest} if manifest is not None else {}
        return await self.engine.submit(job_of(self._lesson, files, parse(command), self._toolchain, **more))

    async def follow(self, run_id: str) -> list[Event]:
        return [event async for event in self.engine.events(run_id)]

    async def run(self, command: str, **more: object) -> list[Event]:
        return await self.follow(await self.submit(command, **more))  # type: ignore[arg-type]  # options of several types

    async def until(self, run_id: str, text: str) -> str:
        """What the run has printed, once ``text`` is in it."""
        printed = ""
        async for event in self.engine.events(run_id):
            printed += event.text if isinstance(event, Output) else ""
            if text in printed:
                return printed
        raise AssertionError(f"{text!r} was never printed, but {printed!r}")


@pytest.fixture
def bench(engine: LocalEngine, lessons: dict[str, Lesson], toolchain: Toolchain) -> Bench:
    return Bench(engine, lessons["hello-std"], toolchain)


def the(kind: type[Event], events: list[Event]) -> Event:
    [found] = [event for event in events if isinstance(event, kind)]
    return found


def printed(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Output))


async def test_a_run_tells_its_story_in_order(bench: Bench, toolchain: Toolchain) -> None:
    events = await bench.run("cargo run")
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert isinstance(events[0], Queued)
    assert events[1] == Started(
        id=2, toolchain=toolchain.name, argv=("cargo", "run"), isolation=bench.engine.inventory.isolation
    )
    assert "Hello" in printed(events)
    artifact = the(Artifact, events)
    assert isinstance(artifact, Artifact)
    assert (artifact.path, artifact.format, artifact.entry_symbol) == ("target/debug/blog_os", "ELF", "_start")
    # What was observed of the program comes between them where the system lets it be traced.
    ends = [event.type for event in events if event.type != "observed"]
    assert ends[-3:] == ["artifact", "finished", "verdict"]
    verdict = events[-1]
    assert isinstance(verdict, Verdict)
    assert verdict.reached


async def test_every_toolchain_uses_its_own_compiler_only(
    engine: LocalEngine, lessons: dict[str, Lesson], toolchains: tuple[Toolchain, ...]
) -> None:
    for toolchain in engine.inventory.usable(toolchains):
        bench = Bench(engine, lessons["hello-std"], toolchain)
        run_id = await bench.submit("cargo build")
        assert isinstance(the(Artifact, await bench.follow(run_id)), Artifact)
        compilers = set(re.findall(rb"rustc version ([0-9][^ )]+)", engine._runs.built(run_id).file.read_bytes()))
        assert compilers == {toolchain.version.encode()}


async def test_a_run_leaves_nothing_but_its_artefact(bench: Bench, settings: Settings) -> None:
    run_id = await bench.submit("cargo build")
    await bench.follow(run_id)
    await anyio.sleep(0.2)
    left = [path for path in below(settings.scratch_dir) if path.is_file()]
    assert {path.name for path in left} == {"lock", "program"}
    assert bench.engine._runs.built(run_id).file in left


async def test_the_environment_is_cleared(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAYGROUND_TEST_SECRET", "hunter2")
    monkeypatch.setenv("RUSTFLAGS", "--cfg nonsense -C no-such-flag")
    events = await bench.run("cargo run", source='fn main() { for pair in std::env::vars() { println!("{pair:?}"); } }')
    assert "CARGO_HOME" in printed(events)
    assert "hunter2" not in printed(events)
    assert "RUSTFLAGS" not in printed(events)


async def test_output_comes_as_it_is_written(bench: Bench) -> None:
    source = """use std::io::Write;
    fn main() { print!("tick"); std::io::stdout().flush().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2)); println!("tock"); }"""
    run_id = await bench.submit("cargo run", source=source)
    arrived: dict[str, float] = {}
    async for event in bench.engine.events(run_id):
        if isinstance(event, Output):
            for word in ("tick", "tock"):
                if word in event.text:
                    arrived[word] = time.monotonic()
    assert arrived["tock"] - arrived["tick"] > 1.5


async def test_cancel_ends_the_whole_tree_and_keeps_what_was_printed(bench: Bench) -> None:
    mark = f"1{time.time_ns()}"
    run_id = await bench.submit("cargo run", source=DAEMON.replace("MARK", mark))
    await bench.until(run_id, "spawned")
    assert await begun(mark)
    began = time.monotonic()
    await bench.engine.cancel(run_id)
    events = await bench.follow(run_id)
    assert time.monotonic() - began < 1
    finished = the(Finished, events)
    assert isinstance(finished, Finished)
    assert finished.status == "cancelled"
    assert "spawned" in printed(events)
    assert await gone(mark)
    await bench.engine.cancel(run_id)


async def test_time_runs_out(
    settings: Settings, taught: Course, lessons: dict[str, Lesson], toolchain: Toolchain
) -> None:
    async with LocalEngine(settings.model_copy(update={"run_seconds": 5.0}), (taught,)) as engine:
        bench = Bench(engine, lessons["hello-std"], toolchain)
        mark = f"1{time.time_ns()}"
        run_id = await bench.submit("cargo run", source=DAEMON.replace("MARK", mark))
        await bench.until(run_id, "spawned")
        assert await begun(mark)
        finished = the(Finished, await bench.follow(run_id))
    assert isinstance(finished, Finished)
    assert (finished.status, finished.exit_code, finished.limit) == ("timeout", None, None)
    assert 4.9 < finished.seconds < 8
    assert await gone(mark)


async def test_a_flood_is_ended_and_said(bench: Bench, settings: Settings) -> None:
    events = await bench.run("cargo run", source='fn main() { loop { println!("{}", "x".repeat(999)); } }')
    finished = the(Finished, events)
    assert isinstance(finished, Finished)
    assert (finished.status, finished.limit) == ("limit", "output")
    assert "printed more than 1024 KiB" in printed(events)
    assert settings.output_bytes - 70_000 < len(printed(events)) < settings.output_bytes + 200
    assert len(events) < 2000


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("Cargo.toml", "[package\n"),
        ("Cargo.toml", '[package]\nname = "blog_os"\nversion = "0.1.0"\nedition = "1492"\n'),
        ("Cargo.toml", '[package]\nversion = "0.1.0"\n'),
        ("Cargo.toml", '[package]\nname = 5\nversion = "0.1.0"\n'),
        ("Cargo.toml", '[package]\nname = "blog_os"\nversion = "0.1.0"\n[profile.dev]\npanic = "maybe"\n'),
        (".cargo/config.toml", "[build\n"),
        (".cargo/config.toml", "build = 7\n"),
    ],
)
async def test_a_broken_manifest_or_config_is_a_diagnostic(
    engine: LocalEngine, lessons: dict[str, Lesson], toolchains: tuple[Toolchain, ...], path: str, text: str
) -> None:
    lesson = lessons["cargo-config"]
    for toolchain in engine.inventory.usable(toolchains):
        job = job_of(lesson, {**lesson.files, path: text}, parse("cargo build"), toolchain)
        events = [event async for event in engine.events(await engine.submit(job))]
        diagnostic = the(Diagnostic, events)
        assert isinstance(diagnostic, Diagnostic)
        assert (diagnostic.code, diagnostic.spans, diagnostic.error_class) == (None, (), "manifest-invalid")
        assert diagnostic.rendered not in printed(events)


async def test_a_forged_artefact_is_not_believed(bench: Bench, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"\x7fELF secret")
    forged = json.dumps(
        {"reason": "compiler-artifact", "executable": str(secret), "profile": {}}, separators=(",", ":")
    )
    events = await bench.run("cargo run", source=f'fn main() {{ println!("{{}}", r#"{forged}"#); }}')
    assert forged in printed(events)
    artifact = the(Artifact, events)
    assert isinstance(artifact, Artifact)
    assert artifact.path == "target/debug/blog_os"


async def test_an_artefact_behind_a_link_is_not_copied(bench: Bench) -> None:
    # The build script swaps its own target folder for a link; cargo then names a file outside of it.
    manifest = '[package]\nname = "blog_os"\nversion = "0.1.0"\nedition = "2021"\nbuild = "src/main.rs"\n'
    source = """fn main() {
        let crate_dir = std::env::var("CARGO_MANIFEST_DIR");
        let Ok(dir) = crate_dir else { return };
        let outside = std::path::Path::new(&dir).parent().unwrap().join("home/elsewhere");
        let target = std::path::Path::new(&dir).join("target");
        if std::fs::rename(&target, &outside).is_ok() { std::os::unix::fs::symlink(&outside, &target).unwrap(); }
    }"""
    events = await bench.run("cargo build", source=source, manifest=manifest)
    assert not [event for event in events if isinstance(event, Artifact)]


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
        assert [e.position for e in events if isinstance(e, Queued)] == [1, 0]
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
        with anyio.move_on_after(3):
            await bench.follow(read)
        assert [(await engine.status(run)).state for run in (unread, read)] == ["done", "running"]
        finished = (await engine.status(unread)).finished
        assert finished
        assert finished.status == "cancelled"


async def test_events_are_replayed_from_any_point(bench: Bench) -> None:
    run_id = await bench.submit("cargo build")
    events = await bench.follow(run_id)
    for after in range(len(events)):
        assert [event async for event in bench.engine.events(run_id, after)] == events[after:]


async def test_what_was_built_can_be_looked_at_afterwards(bench: Bench) -> None:
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


async def test_cargo_new_shows_its_files_and_changes_none(bench: Bench) -> None:
    events = await bench.run("cargo new blog_os --bin --edition 2018")
    assert "blog_os/src/main.rs" in printed(events)
    assert 'println!("Hello, world!")' in printed(events)
    assert 'edition = "2018"' in printed(events)


async def test_rustup_is_answered_truthfully(bench: Bench, toolchain: Toolchain) -> None:
    listed = printed(await bench.run("rustup target list")).splitlines()
    assert f"{toolchain.host} (installed)" in listed
    assert len(listed) > 100
    there = await bench.run(f"rustup target add {toolchain.host}")
    missing = await bench.run("rustup target add mips-unknown-linux-gnu")
    unknown = await bench.run("rustup target add x86_64-templeos")
    statuses = [event.status for run in (there, missing, unknown) for event in run if isinstance(event, Finished)]
    assert statuses == ["ok", "failed", "failed"]
    assert "playground setup" in printed(missing)
    assert "knows no target" in printed(unknown)


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
    (runs / "server-dead" / "lock").touch()
    async with LocalEngine(settings, (taught,)), LocalEngine(settings, (taught,)):
        names = [path.name for path in runs.iterdir()]
        assert len(names) == 2
        assert "server-dead" not in names
    assert list(runs.iterdir()) == []


async def expired(engine: LocalEngine, run_id: str) -> None:
    """The run and what it built are gone within a few seconds."""
    kept = engine._runs.built(run_id).file
    for _ in range(100):
        if not kept.parent.exists():
            break
        await anyio.sleep(0.1)
    assert not kept.parent.exists()
    with pytest.raises(NoSuchRunError):
        await engine.status(run_id)


async def test_a_finished_run_expires_with_its_artefact(
    settings: Settings, taught: Course, lessons: dict[str, Lesson], toolchain: Toolchain
) -> None:
    async with LocalEngine(settings.model_copy(update={"run_ttl": 0.5}), (taught,)) as engine:
        bench = Bench(engine, lessons["hello-std"], toolchain)
        run_id = await bench.submit("cargo build")
        await bench.follow(run_id)
        await expired(engine, run_id)


async def test_a_slow_reader_keeps_no_run(
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


async def test_what_is_forgotten_is_gone(bench: Bench) -> None:
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


async def gone(mark: str) -> bool:
    """Whether no such process lives within a second: the kernel clears a namespace a moment after its first process."""
    for _ in range(50):
        if not running(mark):
            return True
        await anyio.sleep(0.02)
    return False


async def begun(mark: str) -> bool:
    """Whether such a process lives within a second: a new program gets its command line a moment after its start."""
    for _ in range(50):
        if running(mark):
            return True
        await anyio.sleep(0.02)
    return False


def running(mark: str) -> bool:
    """Whether a process with this word on its command line lives, in whatever namespace."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark in path.read_text():
                return True
        except OSError:
            continue
    return False


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


def status(events: list[Event]) -> str:
    finished = the(Finished, events)
    assert isinstance(finished, Finished)
    return finished.status


WAITS = "0.1"
"""The toolchain of the jobs that wait for a target."""
Prepare = Callable[[Callable[[str], None]], Awaitable[str]]


class Waiting(LocalInventory):
    """An inventory that lets the jobs of one toolchain wait; ``prepare`` returns the one that runs them instead."""

    def __init__(self, settings: Settings, courses: tuple[Course, ...], prepare: Prepare) -> None:
        super().__init__(settings, courses)
        self._prepare = prepare

    def pending(self, job: JobSpec) -> tuple[str, ...]:
        return ("made-up",) if job.toolchain == WAITS else ()

    async def prepared(self, job: JobSpec, targets: Sequence[str], say: Callable[[str], None]) -> str:
        assert (job.toolchain, targets) == (WAITS, ("made-up",))
        return await self._prepare(say)


def waiting(settings: Settings, taught: Course, prepare: Prepare) -> LocalEngine:
    """An engine in which the jobs of ``WAITS`` wait."""
    return LocalEngine(settings, (taught,), inventory=Waiting(settings, (taught,), prepare), on_demand=True)


async def test_a_run_waits_for_what_it_needs_and_holds_nobody_up(
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


async def test_room_is_made_by_whoever_takes_most_of_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = await bench.submit("rustc --version", owner="me")
    await bench.follow(mine)
    monkeypatch.setattr(retention, "_MOST_KEPT", 4)
    others = [await bench.submit("rustc --version", owner="other") for _ in range(6)]
    for run_id in others:
        await bench.follow(run_id)
    await anyio.sleep(1.5)
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
        engine._dispatcher.queue._present.clear()  # the others have been away for long
        with anyio.fail_after(5):
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


async def test_many_changes_of_the_queue_are_told_once(
    settings: Settings, taught: Course, lessons: dict[str, Lesson], toolchain: Toolchain
) -> None:
    async with LocalEngine(settings.model_copy(update={"max_runs": 1}), (taught,)) as engine:
        bench = Bench(engine, lessons["hello-std"], toolchain)
        first = await bench.submit("cargo run", source=LOOP)
        waiting = [await bench.submit("cargo build") for _ in range(100)]
        for run in waiting[:-1]:
            await engine.cancel(run)
        await anyio.sleep(1.2)
        await engine.cancel(waiting[-1])
        told = [event.position for event in await bench.follow(waiting[-1]) if isinstance(event, Queued)]
        assert told == [99, 0]
        await engine.cancel(first)
