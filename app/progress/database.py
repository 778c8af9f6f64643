"""Open the database: create it, migrate an older one after copying it, refuse a newer one."""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from app.progress.schema import MIGRATIONS, TABLES, Migrations

_log = logging.getLogger(__name__)
_WAIT_SECONDS = 5
_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


class UnusableDatabaseError(Exception):
    """A database that cannot be used. The message is one sentence that says what to do."""


def open_database(path: Path, migrations: Migrations = MIGRATIONS) -> sqlite3.Connection:
    """Return a connection to the database at its latest version. Any thread may use it, one at a time.

    Raises ``UnusableDatabaseError``, ``sqlite3.Error`` and ``OSError``; the file is then unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    db = _connect(path, "rwc")
    try:
        # The version is read before anything is written, so that a newer database stays as it is.
        found = _usable_version(db, path, len(migrations))
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = normal")
        if found < len(migrations):
            _migrate(db, path, migrations)
    except BaseException:
        db.close()
        raise
    return db


def describe_database(path: Path, migrations: Migrations = MIGRATIONS) -> str:
    """Return one sentence about the version of the database at ``path``, without changing it."""
    if not os.path.exists(path):
        return f"{path} is made at the first start."
    try:
        with closing(_connect(path, "rw")) as db:
            found = _usable_version(db, path, len(migrations))
    except UnusableDatabaseError as error:
        return str(error)
    except sqlite3.Error as error:
        return f"{path} cannot be opened: {error}."
    if found < len(migrations):
        return f"{path} has version {found}; the next start keeps a copy and migrates it to version {len(migrations)}."
    return f"{path} has version {found}, the latest."


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block does, or roll it back if the block or the commit raises."""
    db.execute("begin immediate")
    try:
        yield
        db.execute("commit")
    finally:
        # After some errors, such as a full disk, SQLite has rolled back by itself.
        if db.in_transaction:
            db.execute("rollback")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    address = f"file:{quote(str(path))}?mode={mode}"
    return sqlite3.connect(address, uri=True, check_same_thread=False, isolation_level=None, timeout=_WAIT_SECONDS)


def _usable_version(db: sqlite3.Connection, path: Path, known: int) -> int:
    """Return the database's version; raises ``UnusableDatabaseError`` if it is newer, damaged or another program's."""
    try:
        version = int(db.execute("pragma user_version").fetchone()[0])
        tables = _tables(db)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) in _DAMAGED:
            raise UnusableDatabaseError(_unreadable(path, str(error))) from error
        raise
    if version < 0 or (version == 0 and not tables <= set(TABLES)):
        raise UnusableDatabaseError(_unreadable(path, "another program made it"))
    if version > known:
        raise UnusableDatabaseError(_newer(path, version, known))
    return version


def _migrate(db: sqlite3.Connection, path: Path, migrations: Migrations) -> None:
    """Migrate the database to the latest version in one transaction, after copying it unless it is new."""
    found = 0
    try:
        with transaction(db):
            # Read again: another server may have migrated it before this one got the lock.
            found = _usable_version(db, path, len(migrations))
            kept = _copy(path, found) if found < len(migrations) and _tables(db) else None
            for statements in migrations[found:]:
                for statement in statements:
                    db.execute(statement)
            db.execute(f"pragma user_version = {len(migrations)}")
    except (OSError, sqlite3.Error) as error:
        if not found:
            raise
        raise UnusableDatabaseError(_failed(path, found, len(migrations), error)) from error
    if kept:
        _log.info("%s was migrated from version %d to %d; a copy is %s", path, found, len(migrations), kept)


def _copy(path: Path, version: int) -> Path:
    """Copy the database, including its write-ahead log, to one file beside it."""
    kept = _kept(path, version)
    part = kept.with_name(f"{kept.name}.part")
    part.unlink(missing_ok=True)  # a process killed while copying left it
    try:
        mode = path.stat().st_mode & 0o777
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        # SQLite does not copy from a connection that has begun to write, so this needs another one.
        with closing(_connect(path, "rw")) as source, closing(_connect(part, "rw")) as copy:
            copy.execute("pragma journal_mode = off")  # a journal would be a second file
            source.backup(copy)
        _flush(part)
        part.replace(kept)
        _flush(kept.parent)
    finally:
        part.unlink(missing_ok=True)
    return kept


def _flush(path: Path) -> None:
    """Sync the file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tables(db: sqlite3.Connection) -> set[str]:
    return {str(name) for (name,) in db.execute("select name from sqlite_master where type = 'table'")}


def _kept(path: Path, version: int) -> Path:
    return path.with_name(f"{path.name}.version-{version}")


def _newer(path: Path, version: int, known: int) -> str:
    copies = [kept for older in range(known, 0, -1) if (kept := _kept(path, older)).exists()]
    copy = f"the copy {copies[0]}" if copies else f"a backup of version {known} or older"
    return (
        f"{path} has version {version}, but this playground knows versions up to {known}: "
        f"start a newer playground, or put {copy} in its place."
    )


def _unreadable(path: Path, why: str) -> str:
    return f"{path} is not a database of the playground ({why}): move it away, or put a backup in its place."


def _failed(path: Path, found: int, known: int, error: Exception) -> str:
    return (
        f"{path} could not be migrated from version {found} to {known} ({error}) and is as it was: "
        "make sure that its folder can be written and that the disk has room, then start again."
    )
