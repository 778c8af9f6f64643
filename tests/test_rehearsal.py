"""A rehearsal: simulated learners in a class of its own, of which nothing is kept."""

import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from app.cli.rehearsal import SimulatedLearner
from app.course import Lesson
from tests.support.classroom import holding
from tests.support.environment import SLOWER_BY
from tests.support.server import Server


def test_a_rehearsal_fills_a_class_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = tmp_path / "temporary"
    room.mkdir()
    monkeypatch.setenv("TMPDIR", str(room))
    with holding(tmp_path / "data", "--rehearse", "3", "--code") as held, httpx.Client(base_url=held.url) as instructor:
        instructor.post("/class/enter", data={"key": held.key})
        until = time.monotonic() + 20 * SLOWER_BY
        while "3 here" not in (page := instructor.get("/class").text):
            assert time.monotonic() < until, page
            time.sleep(0.2)
        assert len(re.findall('id="seat-', page)) == 3
        assert held.server.stop(signal.SIGTERM) == 128 + signal.SIGTERM
    assert not (tmp_path / "data").exists()
    assert not list(room.glob("playground-rehearsal-*"))


def test_a_simulated_learner_does_what_a_browser_does(
    start_server: Callable[..., Server], lessons: dict[str, Lesson]
) -> None:
    server = start_server()
    learner = SimulatedLearner(server.url, 1, [], skill=1.0)
    learner.get("/")
    learner.open(lessons["no-std"])
    assert learner.try_once(lessons["no-std"])
    assert "1/16" in learner.get("/lessons/no-std")
    with pytest.raises(OSError, match="404"):
        learner.join()
