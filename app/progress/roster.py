"""Read a class from its tables: who is a member, and what they tried. Times are seconds since 1970."""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from app.room.model import Member, Records, ShownRun, Tally

MEMBER = "number, seat, name, joined, seen, lesson, since, hand, asked, moved, mover"


def records_of(db: sqlite3.Connection, lessons: Collection[str], tried: Mapping[tuple[str, str], Tally]) -> Records:
    """Return the members with their tallies, their opened hints and their shown runs, for these lessons' keys."""
    members = [member_of(row) for row in db.execute(f"select {MEMBER} from members order by number")]  # noqa: S608 - names of our own
    tallies = dict(tried)
    # A step that was reached before the class stays reached.
    for seat, lesson, at in db.execute(
        "select reached.seat, reached.lesson, at from reached join members using (seat)"
    ):
        found = tallies.get((seat, lesson))
        if found is None or found.reached is None:
            tallies[seat, lesson] = replace(found or Tally(), reached=_seconds(at), first=0.0)
    opened = {
        (seat, lesson): number
        for seat, lesson, number in db.execute(
            "select guides.seat, guides.lesson, opened from guides join members using (seat) where opened > 0"
        )
    }
    shown = [shown_of(row) for row in db.execute("select id, seat, run, lesson, until from shown")]
    return Records(
        tuple(members),
        {key: tally for key, tally in tallies.items() if key[1] in lessons},
        {key: number for key, number in opened.items() if key[1] in lessons},
        tuple(shown),
    )


def member_of(row: Sequence[object]) -> Member:
    """Return a member from a row with the columns ``MEMBER``."""
    number, seat, name, joined, seen, lesson, since, hand, asked, moved, mover = row
    return Member(
        number=to_int(number),
        seat=str(seat),
        name=str(name),
        joined=to_float(joined),
        seen=to_float(seen),
        lesson=str(lesson),
        since=to_float(since),
        hand=_optional(hand),
        asked=_optional(asked),
        moved=_optional(moved),
        mover=str(mover),
    )


def shown_of(row: Sequence[object]) -> ShownRun:
    """Return a shown run from its row."""
    number, seat, run, lesson, until = row
    return ShownRun(to_int(number), str(seat), str(run), str(lesson), to_float(until))


def _seconds(at: object) -> float:
    return datetime.fromisoformat(str(at)).timestamp()


def to_int(value: object) -> int:
    """Return a column's value as a number."""
    return int(str(value))


def to_float(value: object) -> float:
    """Return a column's value as a time."""
    return float(str(value))


def _optional(value: object) -> float | None:
    return None if value is None else to_float(value)
