"""The load generator: simulated learners on a real server, and its statistics."""

import random

import pytest

from app.cli.learner import Ran
from app.course.lesson import Lesson
from bench.load import Tally, Task, learn, quantile, seats

pytestmark = pytest.mark.anyio


async def test_each_learner_has_its_own_seat_and_thinks(server: str, lessons: dict[str, Lesson]) -> None:
    task = Task(lessons["hello-std"], "rustc --version")
    tally = await seats(server, task, 3, seconds=5.0, think=0.2)
    assert len(tally.pages) == 6
    assert tally.seconds
    assert not tally.failures


async def test_a_server_that_is_gone_is_a_failure(lessons: dict[str, Lesson]) -> None:
    tally = Tally()
    task = Task(lessons["hello-std"], "cargo build")
    await learn("http://127.0.0.1:9", task, float("inf"), 0.0, random.Random(1), tally)
    assert tally.failures.total() == 1
    assert "no run ended" in tally.line("x")


def test_quantiles_and_refusals() -> None:
    assert [quantile([1.0, 2.0, 3.0, 4.0], part) for part in (0.0, 0.5, 0.95, 1.0)] == [1.0, 3.0, 4.0, 4.0]
    assert quantile([], 0.5) == 0
    tally = Tally([Ran(0.1, 0.3), Ran(0.1, 0.2), Ran(0.1, 0.1, 429)], [0.1])
    assert tally.seconds == [0.2, 0.3]
    assert "refused: {429: 1}" in tally.line("x")
