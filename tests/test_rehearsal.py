"""A rehearsal: simulated learners in a class of its own, of which nothing is kept."""

import re
import signal
from pathlib import Path

import httpx
import pytest

from tests.support.classroom import holding
from tests.support.polling import eventually


def test_a_rehearsal_fills_a_class_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = tmp_path / "temporary"
    room.mkdir()
    monkeypatch.setenv("TMPDIR", str(room))
    with holding(tmp_path / "data", "--rehearse", "3", "--code") as held, httpx.Client(base_url=held.url) as instructor:
        instructor.post("/class/enter", data={"key": held.key})
        assert eventually(lambda: "3 here" in instructor.get("/class").text, 20), instructor.get("/class").text
        page = instructor.get("/class").text
        assert len(re.findall('id="seat-', page)) == 3
        assert held.server.stop(signal.SIGTERM) == 128 + signal.SIGTERM
    assert not (tmp_path / "data").exists()
    assert not list(room.glob("playground-rehearsal-*"))
