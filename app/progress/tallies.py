"""Count the tries of a class by seat and lesson, reading each only once: on a long day there are tens of thousands."""

import sqlite3
from collections.abc import Mapping
from dataclasses import replace

from app.room.model import Tally

_LATEST = 3
"""Runs of which the errors are kept, for the rule that says who is stuck."""
_Key = tuple[str, str]


class Tallies:
    """The tallies as of the last read. Tries are only added or deleted, also by other processes; none is changed."""

    def __init__(self) -> None:
        self._of: dict[_Key, Tally] = {}
        self._number = 0
        self._newest: tuple[object, ...] | None = None

    def read(self, db: sqlite3.Connection) -> Mapping[_Key, Tally]:
        """Return the tallies by seat and lesson."""
        number, newest = db.execute("select count(*), max(id) from tries").fetchone()
        rows = self._newer(db)
        # A deleted try is missing from the count, or a later one has its number.
        if self._number + len(rows) != number or self._newest != self._same(db):
            self._forget()
            rows = self._newer(db)
        for row in rows:
            self._add(*row)
        self._number = number
        self._newest = None if newest is None else self._row(db, newest)
        return self._of

    def _forget(self) -> None:
        self._of, self._number, self._newest = {}, 0, None

    def _newer(self, db: sqlite3.Connection) -> list[tuple[str, str, float, int, str | None]]:
        after = self._newest[0] if self._newest else 0
        query = "select seat, lesson, at, reached, class from tries where id > ? order by id"
        return db.execute(query, (after,)).fetchall()

    def _same(self, db: sqlite3.Connection) -> tuple[object, ...] | None:
        return self._row(db, self._newest[0]) if self._newest else None

    def _row(self, db: sqlite3.Connection, number: object) -> tuple[object, ...] | None:
        found: tuple[object, ...] | None = db.execute(
            "select id, seat, lesson, at from tries where id = ?", (number,)
        ).fetchone()
        return found

    def _add(self, seat: str, lesson: str, at: float, reached: int, error: str | None) -> None:
        now = self._of.get((seat, lesson)) or Tally(first=at)
        if reached:
            earliest = at if now.reached is None else min(now.reached, at)
            now = replace(now, reached=earliest)
        else:
            now = replace(now, missed=now.missed + 1, errors=(error, *now.errors)[:_LATEST])
        self._of[seat, lesson] = replace(now, first=min(now.first, at), last=max(now.last, at))
