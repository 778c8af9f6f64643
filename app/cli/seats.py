"""``playground seats``: list, export and purge what is stored of learners."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

import typer

from app.cli.common import settings_of, stop
from app.progress import UnusableDatabaseError
from app.progress.folder import DATABASE
from app.progress.seats import StoredSeat, opened, purge, rows_of, stored_seats


def list_seats(as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False) -> None:
    """List the seats: when each last ran something, its reached steps, and the size of its data."""
    with _database() as db:
        found = stored_seats(db)
    for one in found:
        typer.echo(json.dumps(_facts(one)) if as_json else _line(one))
    if not as_json:
        total = sum(one.size for one in found)
        typer.echo(f"{len(found)} seat{'' if len(found) == 1 else 's'}, {total / 1024:,.0f} KiB")


def purge_seats(
    before: Annotated[str, typer.Option(help="A day such as 2026-01-31, or an age such as 30d.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many there are.")] = False,
) -> None:
    """Delete all data of seats that have run nothing since a day. Seats that never ran anything stay."""
    day = _day(before)
    with _database() as db:
        number = sum(1 for one in stored_seats(db) if one.last and one.last < day) if dry_run else len(purge(db, day))
    typer.echo(f"{'Would delete' if dry_run else 'Deleted'} {number} seat{'' if number == 1 else 's'}.")


def export_seat(seat: Annotated[str, typer.Argument(help="The seat, as `seats list` shows it.")]) -> None:
    """Print all data of one seat as JSON, by table."""
    with _database() as db:
        found = rows_of(db, seat)
    if not found:
        stop(f"Nothing is stored of a seat {seat!r}; `playground seats list` shows all of them.", code=1)
    typer.echo(json.dumps({"seat": seat, "tables": found}, indent=2, ensure_ascii=False))


def _day(text: str) -> datetime:
    if age := re.fullmatch(r"(\d{1,5})d", text):
        return datetime.now(UTC) - timedelta(days=int(age[1]))
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        stop(f"{text!r} is not a day such as 2026-01-31 and not an age such as 30d.")


@contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    try:
        with opened(settings_of().data_dir / DATABASE) as db:
            yield db
    except UnusableDatabaseError as error:
        stop(str(error), code=1)
    except (OSError, sqlite3.Error) as error:
        stop(f"That failed, and nothing was changed: {error}.", code=1)


def _facts(one: StoredSeat) -> dict[str, object]:
    last = one.last.isoformat(timespec="seconds") if one.last else None
    return {"seat": one.seat, "last": last, "reached": one.reached, "rows": one.rows, "bytes": one.size}


def _line(one: StoredSeat) -> str:
    last = f"{one.last:%Y-%m-%d %H:%M}" if one.last else "never ran"
    return f"{one.seat}  {last:<16}  {one.reached:3} reached  {one.size / 1024:8,.1f} KiB"
