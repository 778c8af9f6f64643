"""Open the database: create it, migrate an older one after copying it, refuse a newer or a damaged one.

Everything that opens it holds the folder's lock (``used``). Otherwise a restore could replace the file meanwhile.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from app.progress.folder import RESTORING, SEAT_KEY, FolderInUseError, flush, held, newest_backup
from app.progress.schema import MIGRATIONS, ROOM_TABLES, TABLES, Migrations

_log = logging.getLogger(__name__)
_WAIT_SECONDS = 5
_RETRY_SECONDS = 0.05
_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
_INTERRUPTED = (
    "A restore in {} was interrupted. Run `playground restore FILE` again. "
    "What was there before is in its folder before-restore-… with the latest date."
)


class UnusableDatabaseError(Exception):
    """A database that cannot be used. The message is one sentence that says what to do."""


@contextmanager
def used(folder: Path) -> Iterator[None]:
    """Hold the folder's lock as a server does.

    Raises ``UnusableDatabaseError`` during or after a partial restore, and ``OSError``.
    """
    try:
        with held(folder, alone=False):
            if (folder / RESTORING).exists():
                raise UnusableDatabaseError(_INTERRUPTED.format(folder))
            yield
    except FolderInUseError:
        raise UnusableDatabaseError(f"A restore is running in {folder}. Try again when it has ended.") from None


def open_database(path: Path, migrations: Migrations = MIGRATIONS) -> sqlite3.Connection:
    """Return a connection to the database at its latest version. Any thread may use it, one at a time.

    Raises ``UnusableDatabaseError``, ``sqlite3.Error`` and ``OSError``; the file is then unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _refuse_empty(path)
    db = connect(path, "rwc")
    try:
        # The version is read before anything is written, so that a newer database stays as it is.
        found = checked_version(db, path, len(migrations))
        _use_wal(db)
        db.execute("pragma synchronous = normal")
        if found < len(migrations):
            _migrate(db, path, migrations)
    except BaseException:
        db.close()
        raise
    return db


def describe_database(path: Path, migrations: Migrations = MIGRATIONS) -> str:
    """Return one sentence about the version of the database at ``path``, without changing it."""
    try:
        return examine_database(path, migrations)
    except UnusableDatabaseError as error:
        return str(error)


def examine_database(path: Path, migrations: Migrations = MIGRATIONS) -> str:
    """Return one sentence about a database that can be used; raises ``UnusableDatabaseError`` for any other one."""
    if not os.path.exists(path):
        return f"{path} is made at the first start."
    try:
        with used(path.parent):
            _refuse_empty(path)
            with closing(connect(path, "rw")) as db:
                found = checked_version(db, path, len(migrations))
    except (OSError, sqlite3.Error) as error:
        raise UnusableDatabaseError(f"{path} cannot be opened: {error}.") from error
    if found < len(migrations):
        return f"{path} has version {found}; the next start keeps a copy and migrates it to version {len(migrations)}."
    return f"{path} has version {found}, the latest."


def _refuse_empty(path: Path) -> None:
    """Refuse an empty file where there have been learners: SQLite would begin a new database in it."""
    # The key first. A server writes it once the database is made, so an empty database beside it has lost everything.
    if path.with_name(SEAT_KEY).exists() and path.is_file() and not path.stat().st_size:
        raise UnusableDatabaseError(_unreadable(path, "it is empty, although there have been learners"))


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


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Return a connection; ``mode`` is SQLite's: ``rw``, or ``rwc`` to create the file."""
    address = f"file:{quote(str(path))}?mode={mode}"
    return sqlite3.connect(address, uri=True, check_same_thread=False, isolation_level=None, timeout=_WAIT_SECONDS)


def _use_wal(db: sqlite3.Connection) -> None:
    """Switch the database to write-ahead mode, unless another server has done so.

    SQLite does not wait for a lock there: it raises at once while another connection makes a new database.
    """
    until = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            db.execute("pragma journal_mode = wal")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return


def checked_version(db: sqlite3.Connection, path: Path, known: int = len(MIGRATIONS)) -> int:
    """Return the database's version; raises ``UnusableDatabaseError`` if it cannot be used, or is damaged anywhere."""
    found = _usable_version(db, path, known)
    with _damage_told(path):
        [(answer,)] = db.execute("pragma quick_check(1)").fetchall()
        if answer != "ok":
            raise UnusableDatabaseError(_unreadable(path, str(answer).strip().replace("\n", " ")))
    return found


def seats_in(db: sqlite3.Connection) -> set[str]:
    """Return every seat of which a table holds something."""
    return {str(seat) for table in tables_of_seats(db) for (seat,) in db.execute(f"select distinct seat from {table}")}  # noqa: S608  (a name of the schema)


def tables_of_seats(db: sqlite3.Connection) -> list[str]:
    """Return the tables with a column ``seat``, whatever the version."""
    return [name for name in sorted(_tables(db)) if "seat" in {column[1] for column in columns(db, name)}]


def try_tables(db: sqlite3.Connection) -> None:
    """Prove that every table and the disk can be written, without changing anything.

    Raises ``sqlite3.Error`` if a table is missing or locked, or if the disk is full or read-only.
    """
    db.execute("begin immediate")
    try:
        for table in (*TABLES, *ROOM_TABLES):
            values = [0 if "int" in kind.lower() else "" for _, _, kind in columns(db, table)]
            if not values:
                raise sqlite3.OperationalError(f"no such table: {table}")
            marks = ", ".join("?" * len(values))
            db.execute(f"insert or replace into {table} values ({marks})", values)  # noqa: S608  (names of our own)
    finally:
        if db.in_transaction:
            db.execute("rollback")
    # Nothing that is rolled back reaches the disk. The version, set to what it is, does: SQLite writes its page again.
    # In one transaction, because a newer server may migrate the database at any moment.
    with transaction(db):
        [(version,)] = db.execute("pragma user_version").fetchall()
        db.execute(f"pragma user_version = {version}")


def _usable_version(db: sqlite3.Connection, path: Path, known: int) -> int:
    """Return the database's version; raises ``UnusableDatabaseError`` if it is newer, damaged or another program's."""
    with _damage_told(path):
        # The tables first: if another server migrates the database in between, the version is known to be newer.
        tables = _tables(db)
        version = int(db.execute("pragma user_version").fetchone()[0])
    if version < 0 or (version == 0 and not tables <= set(TABLES)):
        raise UnusableDatabaseError(_unreadable(path, "another program made it"))
    if version > known:
        raise UnusableDatabaseError(_newer(path, version, known))
    return version


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            raise UnusableDatabaseError(_unreadable(path, str(error))) from error
        raise


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
        with closing(connect(path, "rw")) as source, closing(connect(part, "rw")) as copy:
            copy.execute("pragma journal_mode = off")  # a journal would be a second file
            source.backup(copy)
        flush(part)
        part.replace(kept)
        flush(kept.parent)
    finally:
        part.unlink(missing_ok=True)
    return kept


def _tables(db: sqlite3.Connection) -> set[str]:
    return {str(name) for (name,) in db.execute("select name from sqlite_master where type = 'table'")}


def columns(db: sqlite3.Connection, table: str) -> list[tuple[int, str, str]]:
    """Return the number, name and type of each column."""
    return [(number, str(name), str(kind)) for number, name, kind, *_ in db.execute(f"pragma table_info({table})")]


def _kept(path: Path, version: int) -> Path:
    return path.with_name(f"{path.name}.version-{version}")


def _newer(path: Path, version: int, known: int) -> str:
    copies = [kept for older in range(known, 0, -1) if (kept := _kept(path, older)).exists()]
    copy = (
        f"{copies[0]}`, the copy from before the upgrade"
        if copies
        else f"FILE` with a backup of version {known} or older"
    )
    return (
        f"{path} has version {version}, but this playground knows versions up to {known}: "
        f"start a newer playground, or run `playground restore {copy}."
    )


def _unreadable(path: Path, why: str) -> str:
    return f"{path} is damaged or not a database of the playground ({why}). {newest_backup(path.parent)}"


def _failed(path: Path, found: int, known: int, error: Exception) -> str:
    return (
        f"{path} could not be migrated from version {found} to {known} ({error}) and is as it was: "
        "make sure that its folder can be written and that the disk has room, then start again."
    )
