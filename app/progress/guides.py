"""The hints that a seat has opened in a lesson, and what it predicted."""

import sqlite3
from dataclasses import dataclass

from app.progress.store import Store


@dataclass(frozen=True)
class Predicted:
    """The chosen option, and the right one according to a run of ``toolchain``; None before that run."""

    choice: str
    happened: str | None = None
    toolchain: str | None = None


class Guides:
    """Hints and predictions by seat and lesson."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def opened(self, seat: str, lesson: str) -> int:
        """Return the number of opened hints; one more than the lesson has means the solution, too."""
        return await self._store.read(lambda db: hints_opened(db, seat, lesson))

    async def open(self, seat: str, lesson: str, number: int) -> None:
        """Record that the hints up to this one are open. Later ones that are open stay open."""
        query = (
            "insert into guides (seat, lesson, opened) values (?, ?, ?)"
            " on conflict do update set opened = max(opened, excluded.opened)"
        )
        await self._store.rows(query, seat, lesson, number)

    async def predicted(self, seat: str, lesson: str) -> Predicted | None:
        """Return the prediction and its result, or None without a prediction."""
        return await self._store.read(lambda db: prediction(db, seat, lesson))

    async def predict(self, seat: str, lesson: str, choice: str) -> None:
        """Record a prediction, or replace it as long as it has no result."""
        query = (
            "insert into guides (seat, lesson, choice) values (?, ?, ?)"
            " on conflict do update set choice = excluded.choice where happened is null"
        )
        await self._store.rows(query, seat, lesson, choice)

    async def turned_out(self, seat: str, lesson: str, happened: str, toolchain: str) -> None:
        """Record a prediction's result, if there is a prediction without one."""
        query = (
            "update guides set happened = ?, toolchain = ?"
            " where seat = ? and lesson = ? and choice is not null and happened is null"
        )
        await self._store.rows(query, happened, toolchain, seat, lesson)


def hints_opened(db: sqlite3.Connection, seat: str, lesson: str) -> int:
    """Return what ``Guides.opened`` returns."""
    row = db.execute("select opened from guides where seat = ? and lesson = ?", (seat, lesson)).fetchone()
    return int(row[0]) if row else 0


def prediction(db: sqlite3.Connection, seat: str, lesson: str) -> Predicted | None:
    """Return what ``Guides.predicted`` returns."""
    query = "select choice, happened, toolchain from guides where seat = ? and lesson = ? and choice is not null"
    row = db.execute(query, (seat, lesson)).fetchone()
    return Predicted(*row) if row else None
