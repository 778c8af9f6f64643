"""What is kept of each seat: its files as last run and the steps it has reached, in SQLite.

A seat is one browser. Every change is committed at once in write-ahead mode, so that a killed server loses nothing.
"""

import sqlite3
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import anyio

_T = TypeVar("_T")
_SCHEMA = """
create table if not exists files (
    seat text not null, lesson text not null, path text not null, text text not null,
    primary key (seat, lesson, path)
) without rowid;
create table if not exists reached (
    seat text not null, lesson text not null, at text not null, toolchain text not null,
    primary key (seat, lesson)
) without rowid;
create table if not exists last_runs (
    seat text not null, lesson text not null, run text not null, command text not null, at text not null,
    primary key (seat, lesson)
) without rowid;
pragma user_version = 1;
"""


class Progress:
    """The store; open until ``close``. Methods raise ``sqlite3.Error`` when the disk refuses."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file; later calls raise."""
        with self._lock:
            self._db.close()

    async def check(self) -> None:
        """Raise ``sqlite3.Error`` unless the store can be written."""
        await self._do(lambda db: db.execute("begin immediate").execute("rollback"))

    async def files(self, seat: str, lesson: str) -> dict[str, str]:
        """The seat's texts by path; empty when nothing was run in that lesson."""
        rows = await self._rows("select path, text from files where seat = ? and lesson = ?", seat, lesson)
        return {str(path): str(text) for path, text in rows}

    async def save(self, seat: str, lesson: str, files: Mapping[str, str]) -> None:
        """Keep these texts, all or none of them."""
        rows = [(seat, lesson, path, text) for path, text in files.items()]

        def write(db: sqlite3.Connection) -> None:
            db.execute("begin immediate")
            try:
                db.executemany("insert or replace into files values (?, ?, ?, ?)", rows)
            except BaseException:
                db.execute("rollback")
                raise
            db.execute("commit")

        await self._do(write)

    async def reset(self, seat: str, lesson: str) -> None:
        """Forget the seat's texts and last run of a lesson; a step once reached stays reached."""
        await self._rows("delete from files where seat = ? and lesson = ?", seat, lesson)
        await self._rows("delete from last_runs where seat = ? and lesson = ?", seat, lesson)

    async def mark(self, seat: str, lesson: str, toolchain: str) -> None:
        """Note that the seat has reached the lesson's goal; the first time counts."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        await self._rows("insert or ignore into reached values (?, ?, ?, ?)", seat, lesson, now, toolchain)

    async def reached(self, seat: str) -> dict[str, datetime]:
        """When the seat reached each lesson's goal, by slug."""
        rows = await self._rows("select lesson, at from reached where seat = ?", seat)
        return {str(lesson): datetime.fromisoformat(str(at)) for lesson, at in rows}

    async def note_run(self, seat: str, lesson: str, run: str, command: str) -> None:
        """Note the seat's latest run of a lesson, so that a reload of the page finds it."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        await self._rows("insert or replace into last_runs values (?, ?, ?, ?, ?)", seat, lesson, run, command, now)

    async def last_run(self, seat: str, lesson: str) -> str | None:
        """The id of the seat's latest run of a lesson."""
        rows = await self._rows("select run from last_runs where seat = ? and lesson = ?", seat, lesson)
        return str(rows[0][0]) if rows else None

    async def last_command(self, seat: str, lesson: str) -> str | None:
        """The command of the seat's latest run of a lesson."""
        rows = await self._rows("select command from last_runs where seat = ? and lesson = ?", seat, lesson)
        return str(rows[0][0]) if rows else None

    async def last_lesson(self, seat: str) -> str | None:
        """The slug of the lesson that the seat ran last."""
        rows = await self._rows("select lesson from last_runs where seat = ? order by at desc limit 1", seat)
        return str(rows[0][0]) if rows else None

    async def forget(self, seat: str) -> None:
        """Delete all that is stored of a seat."""
        await self._rows("delete from files where seat = ?", seat)
        await self._rows("delete from reached where seat = ?", seat)
        await self._rows("delete from last_runs where seat = ?", seat)

    async def _rows(self, query: str, *values: str) -> list[tuple[object, ...]]:
        return await self._do(lambda db: db.execute(query, values).fetchall())

    async def _do(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        def locked() -> _T:
            with self._lock:
                return work(self._db)

        return await anyio.to_thread.run_sync(locked)
