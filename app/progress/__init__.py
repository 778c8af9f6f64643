"""Store the progress of each seat in SQLite: its files, their earlier versions, and the lessons it has reached.

A seat is one browser. A lesson is named by its key (``Lesson.key``). Every change is committed at once, so a killed
server loses nothing.
"""

import sqlite3
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.progress.database import UnusableDatabaseError, describe_database, examine_database, try_tables, used
from app.progress.guides import Guides, Predicted, hints_opened, prediction
from app.progress.room import RoomStore, Try, forget_member
from app.progress.schema import TABLES
from app.progress.seats import purge
from app.progress.store import Store, StoreError
from app.progress.versions import Offers, TextVersions, current_texts, fingerprint, undo_and_redo

__all__ = [
    "Guidance",
    "Guides",
    "Offers",
    "Predicted",
    "Progress",
    "RoomStore",
    "StoreError",
    "TextVersions",
    "Try",
    "UnusableDatabaseError",
    "describe_database",
    "examine_database",
    "fingerprint",
]


@dataclass(frozen=True)
class Guidance:
    """A seat's state in a lesson: opened hints, prediction, whether it has run something, undo and redo, its texts."""

    opened: int
    predicted: Predicted | None
    ran: bool
    offers: Offers
    files: Mapping[str, str]


class Progress:
    """The open store, until ``close``. Methods raise ``sqlite3.Error`` when the disk fails.

    Raises ``UnusableDatabaseError`` for a file of a newer version, and for one that is not a database.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with ExitStack() as stack:
            stack.enter_context(used(path.parent))
            self._store = Store(path)
            self._held = stack.pop_all()
        self.versions = TextVersions(self._store)
        self.guides = Guides(self._store)
        self.room = RoomStore(self._store)

    def close(self) -> None:
        """Close the file; later calls raise."""
        self._store.close()
        self._held.close()

    @property
    def failure(self) -> str | None:
        """The error of the latest change that could not be stored, None once a later one was."""
        return self._store.failure

    @property
    def failures(self) -> int:
        """The number of errors so far."""
        return self._store.failures

    async def check(self) -> None:
        """Raise ``sqlite3.Error`` unless every table and the disk can be written. Changes nothing."""
        await self._store.alone(try_tables)

    async def files(self, seat: str, lesson: str) -> dict[str, str]:
        """Return the seat's texts by path, or none if it has not changed any in the lesson."""
        return await self.versions.files(seat, lesson)

    async def save(self, seat: str, lesson: str, files: Mapping[str, str]) -> None:
        """Store the texts, all or none of them."""
        await self.versions.save(seat, lesson, files)

    async def reset(self, seat: str, lesson: str) -> None:
        """Delete the seat's texts and last run of a lesson. A reached lesson stays reached."""

        def work(db: sqlite3.Connection) -> None:
            for table in ("files", "snapshots", "last_runs"):
                db.execute(f"delete from {table} where seat = ? and lesson = ?", (seat, lesson))  # noqa: S608  (names of our own)

        await self._store.together(work)

    async def mark(self, seat: str, lesson: str, toolchain: str, at: datetime | None = None) -> None:
        """Record that the seat has reached the lesson's goal, now or at that time. Only the first time counts."""
        when = (at or datetime.now(UTC)).isoformat(timespec="seconds")
        await self._store.rows("insert or ignore into reached values (?, ?, ?, ?)", seat, lesson, when, toolchain)

    async def reached(self, seat: str) -> dict[str, datetime]:
        """Return when the seat reached each lesson's goal, by the lesson's key."""
        rows = await self._store.rows("select lesson, at from reached where seat = ?", seat)
        return {str(lesson): datetime.fromisoformat(str(at)) for lesson, at in rows}

    async def reached_with(self, seat: str) -> dict[str, tuple[datetime, str]]:
        """Return when, and with which toolchain, the seat reached each lesson's goal, by the lesson's key."""
        rows = await self._store.rows("select lesson, at, toolchain from reached where seat = ?", seat)
        return {str(lesson): (datetime.fromisoformat(str(at)), str(toolchain)) for lesson, at, toolchain in rows}

    async def purge(self, before: datetime) -> list[str]:
        """Delete the seats that have run nothing since then, and return them."""
        return await self._store.alone(lambda db: purge(db, before))

    async def note_run(self, seat: str, lesson: str, run: str, command: str) -> None:
        """Record the seat's latest run of a lesson."""
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        await self._store.rows(
            "insert or replace into last_runs values (?, ?, ?, ?, ?)", seat, lesson, run, command, now
        )

    async def last_run(self, seat: str, lesson: str) -> str | None:
        """Return the id of the seat's latest run of a lesson."""
        rows = await self._store.rows("select run from last_runs where seat = ? and lesson = ?", seat, lesson)
        return str(rows[0][0]) if rows else None

    async def prediction(self, seat: str, lesson: str) -> tuple[Predicted | None, bool]:
        """Return the seat's prediction, and True if it has run the lesson."""
        return await self._store.read(lambda db: (prediction(db, seat, lesson), _has_run(db, seat, lesson)))

    async def guidance(self, seat: str, lesson: str) -> Guidance:
        """Return everything that the guidance beside a lesson needs, read at once."""
        return await self._store.read(
            lambda db: Guidance(
                opened=hints_opened(db, seat, lesson),
                predicted=prediction(db, seat, lesson),
                ran=_has_run(db, seat, lesson),
                offers=undo_and_redo(db, seat, lesson),
                files=current_texts(db, seat, lesson),
            )
        )

    async def run_noted(self, seat: str, run: str) -> datetime | None:
        """Return when a run was noted, if it is the seat's latest one of a lesson."""
        rows = await self._store.rows("select at from last_runs where seat = ? and run = ?", seat, run)
        return datetime.fromisoformat(str(rows[0][0])) if rows else None

    async def last_command(self, seat: str, lesson: str) -> str | None:
        """Return the command of the seat's latest run of a lesson."""
        rows = await self._store.rows("select command from last_runs where seat = ? and lesson = ?", seat, lesson)
        return str(rows[0][0]) if rows else None

    async def last_lesson(self, seat: str, among: Collection[str]) -> str | None:
        """Return which of these lessons, by key, the seat ran last, or None."""
        rows = await self._store.rows("select lesson from last_runs where seat = ? order by at desc", seat)
        return next((str(lesson) for (lesson,) in rows if lesson in among), None)

    async def forget(self, seat: str) -> bool:
        """Delete everything that is stored of a seat, or nothing if the disk fails; return True if it was a member."""

        def work(db: sqlite3.Connection) -> bool:
            was_member = forget_member(db, seat)  # keeps its tries in the sums of the class
            for table in TABLES:
                db.execute(f"delete from {table} where seat = ?", (seat,))  # noqa: S608  (names of our own)
            return was_member

        return await self._store.together(work)


def _has_run(db: sqlite3.Connection, seat: str, lesson: str) -> bool:
    return bool(db.execute("select 1 from last_runs where seat = ? and lesson = ?", (seat, lesson)).fetchone())
