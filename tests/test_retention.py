"""Which finished runs are dropped when they take too much room."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.course import Lesson
from app.engine import retention
from app.engine.log import Run
from app.engine.retention import Retention
from app.protocol.command import parse
from app.protocol.events import Verdict
from app.run.runner import Built
from app.toolchain import Toolchain
from bench.pace import processor_time
from tests.support.jobs import job as job_of

Finished = Callable[[str], Run]


@pytest.fixture
def finished(lessons: dict[str, Lesson], toolchains: tuple[Toolchain, ...]) -> Finished:
    """Return a new finished run of an owner."""
    job = job_of(next(iter(lessons.values())), {}, parse("cargo build"), toolchains[0])

    def of(owner: str) -> Run:
        run = Run(job.model_copy(update={"owner": owner, "run_id": f"{owner}-{next(numbers)}"}))
        run.end(Verdict(reached=False, checks=()))
        return run

    numbers = iter(range(10_000))
    return of


@pytest.mark.anyio
async def test_the_owner_that_takes_most_loses_its_oldest(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_MOST_KEPT", 4)
    dropped: list[str] = []
    runs = Retention(3600, lambda run: dropped.append(run.id))
    for owner in ("a", "b", "b", "b", "a", "b"):
        runs.add(finished(owner))
    runs.expire()
    assert dropped == ["b-1", "b-2"]


@pytest.mark.anyio
async def test_runs_that_share_an_artifact_take_its_room_once(
    finished: Finished, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(retention, "_MOST_BUILT", 250)
    dropped: list[str] = []
    runs = Retention(3600, lambda run: dropped.append(run.id))
    (tmp_path / "known").write_bytes(b"x")
    for number, owner in enumerate(("a", "b", "b", "c", "a", "a")):
        run = finished(owner)
        file = tmp_path / f"{number}"
        if owner == "a":
            file.write_bytes(b"x")
        else:
            file.hardlink_to(tmp_path / "known")
        run.built = Built(file, "target/debug/x", (), 100)
        runs.add(run)
    runs.expire()
    assert dropped == ["a-0", "a-4"], "those of a take 300, those of b and c together 100"


@pytest.mark.anyio
async def test_making_room_takes_little_time_however_many_go_at_once(finished: Finished) -> None:
    dropped: list[str] = []
    runs = Retention(3600, lambda run: dropped.append(run.id))
    for number in range(3000):
        runs.add(finished(f"seat{number % 50}"))
    with processor_time() as cost:
        runs.expire()
    assert len(dropped) == 2000
    assert cost.seconds < 1, "0.1 s on two processors of 2026; a sum over all runs for each drop takes 3 s"
