"""Sliding windows: counts, durations, and the clock they use."""

import pytest
from limits import parse

from app.web.guard.windows import Windows


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, as a list of one time that a test changes."""
    now = [1000.0]
    monkeypatch.setattr("app.web.guard.windows.time.monotonic", lambda: now[0])
    return now


def test_a_window_moves_with_the_time(clock: list[float]) -> None:
    windows, limit = Windows(), parse("2/minute")
    assert windows.hit(limit, "runs", "a") == 0
    clock[0] += 20
    assert windows.hit(limit, "runs", "a") == 0
    assert windows.hit(limit, "runs", "a") == 40
    assert windows.hit(limit, "runs", "b") == windows.hit(limit, "reads", "a") == 0
    clock[0] += 40
    assert windows.hit(limit, "runs", "a") == 0
    assert windows.hit(limit, "runs", "a") == 20


def test_a_refused_hit_does_not_count(clock: list[float]) -> None:
    windows, limit = Windows(), parse("1/10 seconds")
    windows.hit(limit, "a")
    for _ in range(10):
        clock[0] += 0.5
        assert windows.hit(limit, "a") > 0
    clock[0] += 5
    assert windows.hit(limit, "a") == 0


def test_what_is_counted_does_not_grow_for_ever(clock: list[float]) -> None:
    windows, limit = Windows(), parse("1/1 second")
    for seat in range(15_000):
        windows.hit(limit, str(seat))
    clock[0] += 2
    windows.hit(limit, "late")
    assert len(windows) < 10
