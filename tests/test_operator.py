"""The quick half of an operator's week; ``tools/operator-test`` plays the whole of it."""

from pathlib import Path

import pytest

from app.progress.schema import MIGRATIONS
from tests.support.operator import Desk, Week


@pytest.fixture
def week(open_folder: Path) -> Week:
    return Week(open_folder, Desk(open_folder, forked=True))


def test_no_fault_loses_what_learners_were_told_is_stored(week: Week) -> None:
    week.opens(seats=6)
    assert len(week.told) == 7, "with a text and a step each"
    assert not week.lost()
    week.is_killed()
    assert not week.lost()

    key = (week.data / "seat.key").read_bytes()
    week.damage("seat.key", b"x")
    assert f"its size in bytes is 1, not 32. The newest backup is {week.archive} of " in week.refusal()
    week.damage("seat.key", key)
    week.damage("progress.sqlite3")
    assert "damaged or not a database of the playground" in week.refusal()
    said = week.restores()
    assert "What was there before is in" in said
    assert not week.lost(), "everything up to the backup"

    week.set_version(len(MIGRATIONS) + 1)
    assert "start a newer playground, or run `playground restore" in week.refusal()
    week.set_version(len(MIGRATIONS))
    assert not week.lost()


def test_a_stop_tells_learners_that_it_was_one(week: Week) -> None:
    week.is_stopped()
