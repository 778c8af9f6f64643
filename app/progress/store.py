"""The SQLite file: one connection, one lock, every change committed at once in write-ahead mode."""

import sqlite3
import threading
from collections.abc import Callable
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
create table if not exists snapshots (
    seat text not null, lesson text not null, kind text not null, files text not null,
    primary key (seat, lesson, kind)
) without rowid;
create table if not exists versions (
    seat text not null, lesson text not null, side text not null, number integer not null,
    what text not null, files text not null,
    primary key (seat, lesson, side, number)
) without rowid;
create table if not exists guides (
    seat text not null, lesson text not null, opened integer not null default 0,
    choice text, happened text, toolchain text,
    primary key (seat, lesson)
) without rowid;
pragma user_version = 2;
"""
TABLES = ("files", "reached", "last_runs", "snapshots", "versions", "guides")


class Store:
    """The open file, until ``close``. Methods raise ``sqlite3.Error`` when the disk refuses."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        # A place of its own: whoever waits for a locked file would otherwise fill the threads that runs need.
        self._thread = anyio.CapacityLimiter(1)
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file; later calls raise."""
        with self._lock:
            self._db.close()

    async def rows(self, query: str, *values: str | int | None) -> list[tuple[object, ...]]:
        """The rows of one statement, which is committed by itself."""
        return await self._locked(lambda db: db.execute(query, values).fetchall())

    async def together(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """What ``work`` does in one transaction: all of it or nothing."""

        def transaction(db: sqlite3.Connection) -> _T:
            db.execute("begin immediate")
            try:
                done = work(db)
            except BaseException:
                db.execute("rollback")
                raise
            db.execute("commit")
            return done

        return await self._locked(transaction)

    async def _locked(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        def locked() -> _T:
            with self._lock:
                return work(self._db)

        return await anyio.to_thread.run_sync(locked, limiter=self._thread)
