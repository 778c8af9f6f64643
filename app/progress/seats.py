"""All that is stored of seats, table by table, for operators: list, export and purge.

The tables are found in the database itself, so a new one comes along. A seat is as old as the latest date that any of
its rows has. A seat without a date has never run anything.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.progress.database import (
    UnusableDatabaseError,
    columns,
    connect,
    describe_database,
    seats_in,
    tables_of_seats,
    transaction,
    used,
)
from app.progress.folder import DATABASE, SEAT_KEY, newest_backup
from app.progress.room import forget_member

_DATES = ("at", "seen", "joined")


@dataclass(frozen=True)
class StoredSeat:
    """A seat with stored data: the time of its latest run, its rows, their bytes, and its reached lessons."""

    seat: str
    last: datetime | None
    rows: int
    size: int
    reached: int


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open an existing database of this version, which a server may be using. Raises ``UnusableDatabaseError``."""
    if not path.exists():
        raise UnusableDatabaseError(f"{path} does not exist: nothing is stored.")
    with used(path.parent):
        sentence = describe_database(path)
        if not sentence.endswith("the latest."):
            raise UnusableDatabaseError(sentence)
        with closing(connect(path, "rw")) as db:
            db.execute("pragma secure_delete = on")
            yield db


def lost_half(folder: Path) -> str | None:
    """Return a sentence if the folder has a database of seats without their key, or the key without a database."""
    if os.path.lexists(folder / SEAT_KEY):
        if os.path.lexists(folder / DATABASE):
            return None
        lost = f"has {SEAT_KEY} but no {DATABASE}: a start begins a new database, without the progress so far"
    elif _has_seats(folder / DATABASE):
        lost = f"has {DATABASE} but no {SEAT_KEY}: a start makes a new key, and no browser reaches what is stored"
    else:
        return None
    return f"{folder} {lost}. {newest_backup(folder)}"


def _has_seats(path: Path) -> bool:
    with suppress(OSError, sqlite3.Error, UnusableDatabaseError), used(path.parent), closing(connect(path, "rw")) as db:
        return bool(seats_in(db))
    return False


def stored_seats(db: sqlite3.Connection) -> list[StoredSeat]:
    """Return every seat, the most recent first and those without a date last."""
    lasts: dict[str, datetime] = {}
    rows: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for table in tables_of_seats(db):
        names = [name for _, name, _ in columns(db, table)]
        size = " + ".join(f"coalesce(length(cast({name} as blob)), 0)" for name in names)
        date = next((f"max({name})" for name in _DATES if name in names), "null")
        query = f"select seat, {date}, count(*), sum({size}) from {table} group by seat"  # noqa: S608  (names of the schema)
        for seat, last, count, total in db.execute(query):
            rows[seat] = rows.get(seat, 0) + count
            sizes[seat] = sizes.get(seat, 0) + total
            when = _date(last)
            if when and when > lasts.get(seat, when.min.replace(tzinfo=UTC)):
                lasts[seat] = when
    reached = dict(db.execute("select seat, count(*) from reached group by seat"))
    found = [StoredSeat(seat, lasts.get(seat), rows[seat], sizes[seat], reached.get(seat, 0)) for seat in rows]
    return sorted(found, key=lambda one: (one.last is None, -one.last.timestamp() if one.last else 0, one.seat))


def rows_of(db: sqlite3.Connection, seat: str) -> dict[str, list[dict[str, object]]]:
    """Return all rows of a seat by table, each row by column."""
    found = {}
    for table in tables_of_seats(db):
        names = [name for _, name, _ in columns(db, table)]
        chosen = db.execute(f"select * from {table} where seat = ?", (seat,))  # noqa: S608  (a name of the schema)
        if rows := [dict(zip(names, row, strict=True)) for row in chosen]:
            found[table] = rows
    return found


def purge(db: sqlite3.Connection, before: datetime) -> list[str]:
    """Delete the seats whose latest date is before this one, all or none of them; return them."""
    with transaction(db):
        old = [one.seat for one in stored_seats(db) if one.last and one.last < before]
        for seat in old:
            forget_member(db, seat)  # keeps its tries in the sums of the class
            for table in tables_of_seats(db):
                db.execute(f"delete from {table} where seat = ?", (seat,))  # noqa: S608 - names of our own
    return old


def _date(stored: object) -> datetime | None:
    """Return a stored date; an unreadable one counts as none, so that no seat is purged for it."""
    if isinstance(stored, float):  # a class's tables have seconds since 1970
        return datetime.fromtimestamp(stored, UTC)
    try:
        when = datetime.fromisoformat(str(stored))
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
