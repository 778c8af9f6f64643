"""A fault of one run stays with it: cancelled at any moment, out of descriptors, with a broken disk."""

import errno
import gc
import os
import resource
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from itertools import count, cycle
from typing import Any

import anyio
import httpx
import pytest

from app.course import Course
from app.course.lesson import Lesson
from app.engine import worker
from app.engine.local import LocalEngine
from app.engine.log import Run
from app.engine.worker import Worker
from app.protocol.events import Event, Finished, Verdict
from app.run.workspace import Seed, Workspace
from app.settings import Settings
from app.toolchain import Toolchain
from app.web import create_app
from tests.support.bench import Bench, printed
from tests.support.environment import EVERYTHING
from tests.support.files import descriptors, interrupted
from tests.support.polling import eventually_async

pytestmark = pytest.mark.anyio
FAULTS = [errno.EMFILE, errno.ENOSPC, errno.EACCES, errno.EIO]
_FAULT = "Its operator finds the reason in the log"


@pytest.fixture
async def engine(settings: Settings, taught: Course) -> AsyncIterator[LocalEngine]:
    async with LocalEngine(settings.model_copy(update={"max_runs": 1}), (taught,)) as engine:
        yield engine
    # Collect garbage here, because a warning from it would fail a later test.
    gc.collect()


@pytest.fixture
async def bench(engine: LocalEngine, lessons: dict[str, Lesson], toolchain: Toolchain) -> Bench:
    """A bench whose engine has already done one run."""
    bench = Bench(engine, lessons["hello-std"], toolchain)
    assert status(await bench.run("cargo build")) == "ok"
    return bench


def status(events: list[Event]) -> str:
    [found] = [event for event in events if isinstance(event, Finished)]
    assert isinstance(events[-1], Verdict)
    return found.status


async def settled(engine: LocalEngine, kept: int = 1) -> None:
    """Wait until only ``kept`` artifacts are left of the runs and every slot is free."""
    left: list[str] = []
    for _ in range(600):
        left = [path.name for path in engine._scratch.path.iterdir() if path.name.isdigit()]
        # Each of four readers of artifacts has one folder, and so have the engine's own builds.
        if len(left) <= 6 and len(list((engine._scratch.path / "artifacts").iterdir())) <= kept:
            break
        await anyio.sleep(0.05)
    else:
        raise AssertionError(f"these folders are left: {left}")
    at_once = 1 + engine._settings.max_aside
    await eventually_async(lambda: len(engine._worker._free) == at_once)
    assert (engine._dispatcher.queue.waiting, len(engine._worker._free)) == (0, at_once)


async def recovered(bench: Bench, seen: list[list[Event]]) -> None:
    """Check that runs blamed the machine, that the next run works, and that their leftovers can be deleted."""
    assert [events for events in seen if _FAULT in printed(events)]
    assert status(await bench.run("cargo build")) == "ok"
    await bench.engine._scratch.tidy()
    await settled(bench.engine, kept=20)


class Stepped(Awaitable[None]):
    """Awaits a coroutine and calls a function when it suspends for the ``at``-th time."""

    def __init__(self, work: Coroutine[object, object, None], at: int, act: Callable[[], None]) -> None:
        self._work, self._at, self._act = work, at, act
        self.steps = 0

    def __await__(self) -> Generator[object, object, None]:
        step: Callable[..., object] = self._work.send
        value: object = None
        while True:
            try:
                waits = step(value)
            except StopIteration:
                return
            self.steps += 1
            if self.steps == self._at:
                self._act()
            try:
                step, value = self._work.send, (yield waits)
            except BaseException as error:  # thrown into the coroutine
                step, value = self._work.throw, error


@pytest.mark.parametrize(("command", "stride"), [("rustc --version", 1), ("cargo build", 3)])
async def test_a_run_that_is_cancelled_at_any_step_leaves_nothing_and_the_next_one_works(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, command: str, stride: int
) -> None:
    attempt = Worker._attempt
    engine, seen = bench.engine, list[str]()
    await engine.warm()
    open_before = descriptors()
    mode = stat.S_IMODE(engine._scratch.path.stat().st_mode)
    for at in count(1, stride):

        async def cancelled(self: Worker, run: Run, *rest: Any, at: int = at) -> None:
            await Stepped(attempt(self, run, *rest), at, run.scope.cancel)

        monkeypatch.setattr(Worker, "_attempt", cancelled)
        seen.append(status(await bench.run(command)))
        if seen[-1] != "cancelled":
            break
    monkeypatch.setattr(Worker, "_attempt", attempt)
    assert len(seen) > 5
    assert set(seen[:-1]) == {"cancelled"}
    assert status(await bench.run("cargo build")) == "ok"
    await settled(engine, kept=3)
    assert stat.S_IMODE(engine._scratch.path.stat().st_mode) == mode
    # A reader of artifacts that started anew holds four; a leak would hold one for each of the runs.
    most = open_before + 2 + 4
    assert await eventually_async(lambda: descriptors() <= most)


@pytest.mark.parametrize("faults", [[fault] for fault in FAULTS] if EVERYTHING else [FAULTS])
async def test_after_any_fault_with_a_runs_files_the_next_run_works(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, faults: list[int]
) -> None:
    """The faults take turns; `make test-all` tries each at every place."""
    seen = []
    for at, number in zip(range(0, 700, 70), cycle(faults), strict=False):
        steps = count()

        def fail(at: int = at, number: int = number, steps: Iterator[int] = steps) -> None:
            if next(steps) >= at:
                raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patched:
            interrupted(patched, fail, but=("close", "geteuid"))
            seen.append(await bench.run("cargo build"))
            await anyio.sleep(0.05)
        assert status(await bench.run("rustc --version")) == "ok"
    await recovered(bench, seen)
    assert await bench.engine.health() == "ok"


@contextmanager
def few_descriptors(left: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(highest, descriptors()) + left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_runs_without_descriptors_end_and_the_next_one_works(bench: Bench) -> None:
    seen = []
    for left in (0, 1, 2, 4, 6, 8, 10, 12, 16):
        with few_descriptors(left):
            seen.append(await bench.run("cargo build"))
            await anyio.sleep(0.1)
        assert status(await bench.run("rustc --version")) == "ok"
    await recovered(bench, seen)


async def test_a_verdict_comes_also_when_nothing_can_be_judged_stored_or_removed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object) -> None:
        raise ValueError("broken on purpose")

    async def broken_too(*_args: object) -> None:
        broken()

    with monkeypatch.context() as patched:
        patched.setattr(worker, "judge", broken)
        patched.setattr(bench.engine, "_on_verdict", broken_too)
        patched.setattr(bench.engine._scratch, "discard", broken_too)
        assert status(await bench.run("cargo build")) == "ok"
        await anyio.sleep(0.1)
    assert status(await bench.run("cargo build")) == "ok"


async def test_what_a_run_looks_at_may_expire_while_it_waits(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    built = await bench.submit("cargo build")
    await bench.follow(built)
    lay = Workspace.lay

    def late(workspace: Workspace, files: dict[str, str], seed: Seed | None) -> None:
        bench.engine._runs.built(built).file.unlink()
        lay(workspace, files, seed)

    monkeypatch.setattr(Workspace, "lay", late)
    events = await bench.run("readelf -h target/debug/blog_os", after=built)
    assert status(events) == "failed"
    assert "build it again" in printed(events)
    assert _FAULT not in printed(events)


async def test_the_name_of_what_is_kept_says_nothing_of_the_run(bench: Bench) -> None:
    run_id = await bench.submit("cargo build")
    await bench.follow(run_id)
    assert run_id not in str(bench.engine._runs.built(run_id).file)
    assert bench.engine._runs.built(run_id).file.stat().st_nlink == 1


async def test_a_failed_run_makes_the_engine_try_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> None:
        raise OSError("broken on purpose")

    monkeypatch.setattr(worker, "_PAUSE", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(Workspace, "lay", broken)
        assert _FAULT in printed(await bench.run("cargo build"))
        assert "see the log" in await bench.engine.health()
    assert await bench.engine.health() == "ok", "a trial has found that runs work again"
    await settled(bench.engine)


async def test_readiness_tells_an_engine_that_has_ended(settings: Settings) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            while app.state.playground.warming:  # noqa: ASYNC110 - nothing tells of its end
                await anyio.sleep(0.05)
            assert (await client.get("/readyz")).json()["engine"] == "ok"
            app.state.playground.engine._tasks.end()
            answer = await client.get("/readyz")
            assert answer.status_code == 503
            assert "restart" in answer.json()["engine"]


async def test_a_run_that_takes_no_seed_waits_for_none(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_args: object) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(bench.engine._seeds, "of", never)
    with anyio.fail_after(60):
        for line in ("cargo --version", "rustc --version", "cargo new blog_os", "rustup target list"):
            assert status(await bench.run(line)) == "ok"
        run_id = await bench.submit("cargo build")
        with anyio.move_on_after(0.5):
            await bench.follow(run_id)
        assert (await bench.engine.status(run_id)).state == "running", "a build waits for its seed"
        await bench.engine.cancel(run_id)
