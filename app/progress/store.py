"""The SQLite file: one connection and one lock. Every change is committed at once, in write-ahead mode."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import anyio

from app.progress.database import open_database, transaction

_T = TypeVar("_T")
StoreError = sqlite3.Error
"""The error of what the disk refuses, for rooms that only catch it."""


class Store:
    """The open file, until ``close``. Methods raise ``sqlite3.Error`` when the disk fails.

    ``failure`` is the latest error, None once a change was stored after it; ``failures`` is the number of all errors.
    Raises ``UnusableDatabaseError`` for a file that cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        # A limiter of its own: calls that wait for a locked file would otherwise use up the threads that runs need.
        self._thread = anyio.CapacityLimiter(1)
        self._db = open_database(path)
        self.failure: str | None = None
        self.failures = 0

    def close(self) -> None:
        """Close the file; later calls raise."""
        with self._lock:
            self._db.close()

    async def rows(self, query: str, *values: str | int | None) -> list[tuple[object, ...]]:
        """Execute and commit one statement; return its rows."""
        return await self._locked(
            lambda db: db.execute(query, values).fetchall(), changes=not query.startswith("select")
        )

    async def read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Call ``work``, which reads only, and return its result: several reads cost one thread and see one moment."""

        def snapshot(db: sqlite3.Connection) -> _T:
            db.execute("begin")
            try:
                return work(db)
            finally:
                if db.in_transaction:  # after some errors, SQLite has rolled back by itself
                    db.execute("rollback")

        return await self._locked(snapshot, changes=False)

    async def together(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Call ``work`` in one transaction, which is rolled back if it raises; return its result."""

        def whole(db: sqlite3.Connection) -> _T:
            with transaction(db):
                return work(db)

        return await self._locked(whole, changes=True)

    async def alone(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Call ``work``, which has transactions of its own; return its result."""
        return await self._locked(work, changes=True)

    async def _locked(self, work: Callable[[sqlite3.Connection], _T], *, changes: bool) -> _T:
        def locked() -> _T:
            with self._lock:
                return work(self._db)

        try:
            found = await anyio.to_thread.run_sync(locked, limiter=self._thread)
        except sqlite3.Error as error:
            self.failure = str(error)
            self.failures += 1
            raise
        if changes:
            self.failure = None
        return found
