"""Targets on demand: each set up once, one set-up at a time, with progress for everyone who waits."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from app.toolchain import Demand

pytestmark = pytest.mark.anyio


class Builder:
    """Sets up targets when the test allows it."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, ...]] = []
        self.at_work = 0
        self.go = anyio.Event()
        self.error: Exception | None = None
        self.known = 0

    async def add(self, _cache: Path, say: Callable[[str], None], targets: tuple[str, ...]) -> tuple[str, ...]:
        self.batches.append(targets)
        self.at_work += 1
        assert self.at_work == 1, "two set-ups at once"
        try:
            say("  compiling core, 5 s")
            await self.go.wait()
            if self.error:
                raise self.error
            say("done")
        finally:
            self.at_work -= 1
        return tuple(target for target in targets if target == "broken")

    async def refresh(self) -> None:
        self.known += 1


@pytest.fixture
def builder() -> Builder:
    return Builder()


@pytest.fixture
async def demand(builder: Builder, tmp_path: Path) -> AsyncIterator[Demand]:
    async with working(Demand(tmp_path, builder.add), builder) as demand:
        yield demand


@asynccontextmanager
async def working(demand: Demand, builder: Builder) -> AsyncIterator[Demand]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(demand.serve, builder.refresh)
        yield demand
        tasks.cancel_scope.cancel()


async def test_each_target_is_set_up_once_and_one_after_the_other(builder: Builder, demand: Demand) -> None:
    demand.want(["one", "two"])
    await anyio.wait_all_tasks_blocked()
    demand.want(["two", "three"])
    demand.want(["three"])
    state = demand.of("two"), demand.of("three")
    assert [each and each.state for each in state] == ["building", "waiting"]
    assert state[0]
    assert state[0].doing == "compiling core, 5 s"
    builder.go.set()
    with anyio.fail_after(5):
        await demand.settled(["one", "two", "three"], print)
    assert builder.batches == [("one", "two"), ("three",)]
    assert demand.of("two") is None, "what is there needs no preparation"
    assert builder.known == 2


async def test_a_failure_is_kept_and_not_tried_again_at_once(builder: Builder, demand: Demand) -> None:
    builder.go.set()
    demand.want(["good", "broken"])
    with anyio.fail_after(5):
        await demand.settled(["good", "broken"], print)
    assert demand.of("good") is None
    failed = demand.of("broken")
    assert failed
    assert (failed.state, failed.pending, failed.doing) == ("failed", False, "done")
    demand.want(["broken"])
    await anyio.wait_all_tasks_blocked()
    assert builder.batches == [("good", "broken")]


async def test_a_failure_is_tried_again_after_a_while(
    builder: Builder, demand: Demand, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder.go.set()
    demand.want(["broken"])
    with anyio.fail_after(5):
        await demand.settled(["broken"], print)
    monkeypatch.setattr("app.toolchain.demand._RETRY_SECONDS", 0.0)
    demand.want(["broken"])
    with anyio.fail_after(5):
        await demand.settled(["broken"], print)
    assert builder.batches == [("broken",), ("broken",)]


@pytest.mark.parametrize("error", [OSError(30, "Read-only file system"), RuntimeError("a fault of ours")])
async def test_an_error_fails_the_target_and_the_next_one_is_set_up_all_the_same(
    builder: Builder, demand: Demand, error: Exception
) -> None:
    builder.error = error
    builder.go.set()
    lines: list[str] = []
    demand.want(["one"])
    with anyio.fail_after(5):
        await demand.settled(["one"], lines.append)
    assert ("Read-only file system" in lines[-1]) == isinstance(error, OSError)
    assert demand.of("one")
    builder.error = None
    demand.want(["two"])
    with anyio.fail_after(5):
        await demand.settled(["two"], lines.append)
    assert demand.of("two") is None


async def test_a_waiting_run_gets_every_line_of_the_set_up(builder: Builder, demand: Demand) -> None:
    early: list[str] = []
    late: list[str] = []
    async with anyio.create_task_group() as tasks:
        demand.want(["one"])
        tasks.start_soon(demand.settled, ["one"], early.append)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(demand.settled, ["one"], late.append)
        await anyio.wait_all_tasks_blocked()
        builder.go.set()
    assert early == late == ["Setting up one, once for all users of this playground.", "  compiling core, 5 s", "done"]
