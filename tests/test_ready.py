"""Sandboxes that are made ahead of the runs that use them."""

import os
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from app.course import Course, Lesson
from app.engine.inventory import LocalSetup
from app.engine.local import LocalEngine
from app.engine.ready import Slot
from app.protocol.command import parse
from app.protocol.events import Event, Finished, Started, Verdict
from app.settings import Settings
from app.toolchain import Toolchain
from tests.support.bench import Bench, printed, status
from tests.support.jobs import job

pytestmark = pytest.mark.anyio


@pytest.fixture
async def engine(settings: Settings, taught: Course, found: LocalSetup) -> AsyncIterator[LocalEngine]:
    """An engine for one run at a time that makes sandboxes ahead."""
    if found.isolation.level != "namespaces":
        pytest.skip("sandboxes are only made ahead at the isolation level namespaces")
    async with LocalEngine(settings.model_copy(update={"max_runs": 1}), (taught,), found=found, ahead=True) as made:
        yield made


@pytest.fixture
def bench(engine: LocalEngine, lessons: dict[str, Lesson], toolchain: Toolchain) -> Bench:
    return Bench(engine, lessons["hello-std"], toolchain)


def slot(engine: LocalEngine) -> Slot:
    """Return the slot that the next run gets."""
    return engine._worker._slots[-1]


async def made(engine: LocalEngine) -> int:
    """Wait for a sandbox, and return the id of its process."""
    with anyio.fail_after(60):
        while not (found := slot(engine)._ready):  # noqa: ASYNC110 - the engine tells nobody
            await anyio.sleep(0.01)
    return found.parked.child.process.pid


def seen(events: Sequence[Event]) -> list[object]:
    """Return what a run did, apart from its times and its folder."""
    ends = [(event.status, event.exit_code) for event in events if isinstance(event, Finished)]
    return [*ends, *[event.argv for event in events if isinstance(event, Started)], [event.type for event in events]]


async def test_a_run_uses_the_sandbox_that_was_made_after_the_one_before(bench: Bench, engine: LocalEngine) -> None:
    first = await bench.run("cargo build", source='fn main() { println!("one"); }')
    waiting = await made(engine)
    second = await bench.run("cargo build", source="fn main() { nothing }")
    assert status(first) == "ok"
    assert status(second) == "failed"
    third_waits = await made(engine)
    assert third_waits != waiting
    third = await bench.run("cargo build", source='fn main() { println!("three"); }')
    assert seen(third) == seen(first)
    assert isinstance(third[-1], Verdict)


async def test_a_command_with_other_needs_leaves_it_waiting(bench: Bench, engine: LocalEngine) -> None:
    await bench.run("cargo build")
    waiting = await made(engine)
    assert "Hello, world!" in printed(await bench.run("cargo run"))
    assert "rustc 1." in printed(await bench.run("rustc --version"))
    assert await made(engine) == waiting


async def test_a_sandbox_that_was_killed_is_not_used(bench: Bench, engine: LocalEngine) -> None:
    await bench.run("cargo build")
    waiting = await made(engine)
    os.kill(waiting, signal.SIGKILL)
    with anyio.fail_after(60):
        found = slot(engine)._ready
        assert found
        await found.parked.child.process.wait()
    assert status(await bench.run("cargo build")) == "ok"


@pytest.mark.parametrize("pause", [0, 0.01])
async def test_a_cancelled_run_leaves_nothing_of_its_sandbox(bench: Bench, engine: LocalEngine, pause: float) -> None:
    await bench.run("cargo build")
    waiting = await made(engine)
    found = slot(engine)._ready
    assert found
    run_id = await bench.submit("cargo build", source="fn main() { loop {} }")
    await anyio.sleep(pause)
    await engine.cancel(run_id)
    # A build that has ended, or a run that had not begun, is not cancelled, or leaves the sandbox waiting.
    assert status(await bench.follow(run_id)) in ("cancelled", "ok")
    assert status(await bench.run("cargo build")) == "ok"
    assert await made(engine) != waiting
    with anyio.fail_after(60):
        while found.workspace.folder.path.exists():  # noqa: ASYNC110 - the engine tells nobody
            await anyio.sleep(0.01)
    assert found.parked.child.process.returncode is not None


async def test_an_old_sandbox_is_removed(bench: Bench, engine: LocalEngine) -> None:
    await bench.run("cargo build")
    await made(engine)
    own = slot(engine)
    assert own._ready
    old = own._ready = replace(own._ready, until=0.0)
    assert own.take(old.needs) is None
    await own.tidy()
    assert not slot(engine)._ready
    assert old.parked.child.process.returncode is not None
    assert not old.workspace.folder.path.exists()
    await own.prepare(old.needs)
    assert own._suits(old.needs)
    never = Slot(own.box, engine._scratch, seconds=0.0)
    await never.prepare(old.needs)
    assert never._ready is None


async def test_nothing_is_left_when_the_engine_ends(
    settings: Settings, taught: Course, lessons: dict[str, Lesson], toolchain: Toolchain
) -> None:
    async with LocalEngine(settings, (taught,), ahead=True) as engine:
        bench = Bench(engine, lessons["hello-std"], toolchain)
        await bench.run("cargo build")
        with anyio.fail_after(60):
            while not (found := next((one._ready for one in engine._worker._slots if one._ready), None)):  # noqa: ASYNC110 - the engine tells nobody
                await anyio.sleep(0.01)
    assert found.parked.child.process.returncode is not None
    assert list(settings.scratch_dir.glob("server-*")) == []


async def test_a_sandbox_is_made_for_the_compiler_that_was_used_last(
    engine: LocalEngine, lessons: dict[str, Lesson], toolchains: tuple[Toolchain, ...]
) -> None:
    for toolchain in toolchains[:2]:
        spec = job(lessons["hello-std"], lessons["hello-std"].files, parse("cargo build"), toolchain)
        async for _ in engine.events(await engine.submit(spec)):
            pass
        with anyio.fail_after(60):
            while not (found := slot(engine)._ready) or not set(toolchain.folders) <= set(found.needs.readable):  # noqa: ASYNC110 - the engine tells nobody
                await anyio.sleep(0.01)
        assert Path(found.workspace.root).name == found.needs.crate
