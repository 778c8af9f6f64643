"""The runner with the real cargo: environment, output, time, limits, artifacts."""

import json
import re
import time
from pathlib import Path

import pytest

from app.course import Course
from app.course.lesson import Lesson
from app.engine.local import LocalEngine
from app.protocol.command import parse
from app.protocol.events import Artifact, Diagnostic, Edit, Finished, Output, Started
from app.settings import Settings
from app.toolchain import Toolchain, components
from bench.pace import pace
from tests.support.bench import Bench, only, printed
from tests.support.environment import within
from tests.support.jobs import job as job_of
from tests.support.processes import has_ended, has_started

pytestmark = pytest.mark.anyio

DAEMON = """use std::process::Command;
fn main() {
    Command::new("sleep").arg("MARK").spawn().unwrap();
    println!("spawned");
    loop { std::thread::sleep(std::time::Duration::from_secs(1)); }
}"""


async def test_every_toolchain_uses_its_own_compiler_only(
    engine: LocalEngine, lessons: dict[str, Lesson], toolchains: tuple[Toolchain, ...]
) -> None:
    for toolchain in engine.inventory.usable(toolchains):
        bench = Bench(engine, lessons["hello-std"], toolchain)
        run_id = await bench.submit("cargo build")
        assert isinstance(only(Artifact, await bench.follow(run_id)), Artifact)
        compilers = set(re.findall(rb"rustc version ([0-9][^ )]+)", engine._runs.built(run_id).file.read_bytes()))
        assert compilers == {toolchain.version.encode()}


async def test_the_environment_is_cleared(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAYGROUND_TEST_SECRET", "hunter2")
    monkeypatch.setenv("RUSTFLAGS", "--cfg nonsense -C no-such-flag")
    events = await bench.run("cargo run", source='fn main() { for pair in std::env::vars() { println!("{pair:?}"); } }')
    assert "CARGO_HOME" in printed(events)
    assert "hunter2" not in printed(events)
    assert "RUSTFLAGS" not in printed(events)


async def test_output_streams_as_it_is_written(bench: Bench) -> None:
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
    assert arrived["tock"] - arrived["tick"] > 0.5  # the first may come late on a busy machine


async def test_cancel_ends_the_whole_tree_and_keeps_what_was_printed(bench: Bench) -> None:
    await bench.engine.warm()  # the first reader of an artifact takes a second to start
    mark = f"1{time.time_ns()}"
    run_id = await bench.submit("cargo run", source=DAEMON.replace("MARK", mark))
    await bench.until(run_id, "spawned")
    assert await has_started(mark)
    began = time.monotonic()
    await bench.engine.cancel(run_id)
    events = await bench.follow(run_id)
    assert within(5, began)
    finished = only(Finished, events)
    assert isinstance(finished, Finished)
    assert finished.status == "cancelled"
    assert "spawned" in printed(events)
    assert await has_ended(mark)
    await bench.engine.cancel(run_id)


async def test_a_run_that_takes_too_long_times_out(
    settings: Settings, taught: Course, lessons: dict[str, Lesson], toolchain: Toolchain
) -> None:
    seconds = 5.0 * pace()  # a build is a part of them
    async with LocalEngine(settings.model_copy(update={"run_seconds": seconds}), (taught,)) as engine:
        bench = Bench(engine, lessons["hello-std"], toolchain)
        mark = f"1{time.time_ns()}"
        run_id = await bench.submit("cargo run", source=DAEMON.replace("MARK", mark))
        await bench.until(run_id, "spawned")
        assert await has_started(mark)
        finished = only(Finished, await bench.follow(run_id))
    assert isinstance(finished, Finished)
    assert (finished.status, finished.exit_code, finished.limit) == ("timeout", None, None)
    assert seconds - 0.1 < finished.seconds < 3 * seconds
    assert await has_ended(mark)


async def test_a_flood_ends_the_run_and_is_reported(bench: Bench, settings: Settings) -> None:
    events = await bench.run("cargo run", source='fn main() { loop { println!("{}", "x".repeat(999)); } }')
    finished = only(Finished, events)
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
        diagnostic = only(Diagnostic, events)
        assert isinstance(diagnostic, Diagnostic)
        assert (diagnostic.code, diagnostic.spans, diagnostic.error_class) == (None, (), "manifest-invalid")
        assert diagnostic.rendered not in printed(events)


async def test_a_forged_artifact_message_is_ignored(bench: Bench, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"\x7fELF secret")
    forged = json.dumps(
        {"reason": "compiler-artifact", "executable": str(secret), "profile": {}}, separators=(",", ":")
    )
    events = await bench.run("cargo run", source=f'fn main() {{ println!("{{}}", r#"{forged}"#); }}')
    assert forged in printed(events)
    artifact = only(Artifact, events)
    assert isinstance(artifact, Artifact)
    assert artifact.path == "target/debug/blog_os"


async def test_an_artifact_behind_a_link_is_not_copied(bench: Bench) -> None:
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


async def test_rustfmt_proposes_and_changes_nothing(bench: Bench, toolchain: Toolchain) -> None:
    if not components.has(toolchain, "rustfmt"):
        pytest.skip("rustfmt is not installed for this compiler")
    events = await bench.run("cargo fmt", source="fn main(){let _x=1;}\n")
    assert [(event.path, event.text) for event in events if isinstance(event, Edit)] == [
        ("src/main.rs", "fn main() {\n    let _x = 1;\n}\n")
    ]
    events = await bench.run("cargo fmt", source="fn main() {}\n")
    assert not any(isinstance(event, Edit) for event in events)
    assert "formatted already" in "".join(event.text for event in events if isinstance(event, Output))
    events = await bench.run("cargo fmt", source="fn main( {\n")
    assert not any(isinstance(event, Edit) for event in events)
    assert next(event.status for event in events if isinstance(event, Finished)) == "failed"


async def test_clippys_hints_are_diagnostics(bench: Bench, toolchain: Toolchain) -> None:
    if not components.has(toolchain, "clippy"):
        pytest.skip("Clippy is not installed for this compiler")
    events = await bench.run("cargo clippy", source="fn main() { let x = 1; let _ = x == x; }\n")
    assert "clippy::eq_op" in [event.code for event in events if isinstance(event, Diagnostic)]


async def test_questions_about_the_crate_need_no_process(bench: Bench) -> None:
    events = await bench.run("$ cat src/main.rs # the program", source="fn main() {}\n")
    assert [event.text for event in events if isinstance(event, Output)] == ["fn main() {}\n"]
    started = next(event for event in events if isinstance(event, Started))
    assert started.argv == ("cat", "src/main.rs")
    assert started.note == "Read as `cat src/main.rs`, without the prompt and without the comment."
    assert next(event for event in events if isinstance(event, Finished)).exit_code == 0
    events = await bench.run("cat nothing")
    assert next(event for event in events if isinstance(event, Finished)).status == "failed"
