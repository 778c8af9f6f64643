"""The log of one run."""

import pytest

from app.course.lesson import Lesson
from app.engine.log import Run
from app.protocol.command import parse
from app.protocol.events import Queued
from app.toolchain import Toolchain
from tests.support.jobs import job as job_of

pytestmark = pytest.mark.anyio

pytestmark = pytest.mark.anyio


@pytest.fixture
async def run(lessons: dict[str, Lesson], toolchains: tuple[Toolchain, ...]) -> Run:
    lesson = next(iter(lessons.values()))
    return Run(job_of(lesson, lesson.files, parse("cargo build"), toolchains[0]))


async def test_a_run_that_waits_for_an_hour_tells_a_few_hundred_positions_and_the_last_one(run: Run) -> None:
    behind = [run.stands_at(tick % 2 + 3, now=1000.0 + tick / 2) for tick in range(7200)]
    assert 100 < len(run.log) < 450
    assert behind[:3] == [True] * 3, "the first ones come at once"
    while not run.stands_at(1, now=4600.0 + len(behind) / 2):
        behind.append(False)
    assert run.log[-1] == Queued(position=1).numbered(len(run.log))


async def test_an_unchanged_position_is_sent_once(run: Run) -> None:
    assert [run.stands_at(2, now=float(tick)) for tick in range(100)] == [True] * 100
    assert len(run.log) == 1


async def test_a_position_is_sent_at_most_twice_within_a_second(run: Run) -> None:
    sent = [tick / 10 for tick in range(100) if run.stands_at(tick, now=tick / 10)]
    assert sent[:3] == [0.0, 0.1, 1.0]
    assert all(third - first >= 1 for first, third in zip(sent, sent[2:], strict=False))
