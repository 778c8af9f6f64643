"""``playground backup`` and ``playground restore``."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import settings_of, stop
from app.progress.archive import PART, ArchiveError, Contents, back_up, opened
from app.progress.archive import restore as restore_from

_STANDARD = Path("-")


def backup(file: Annotated[Path, typer.Argument(help="The archive; - for standard output.")]) -> None:
    """Write everything that is stored of the learners to one archive, also while the server runs."""
    to = None if file == _STANDARD else file
    if to is None and sys.stdout.isatty():
        stop("The archive is not text. Send it into a file: playground backup - >playground.tar")
    with _told():
        contents = back_up(settings_of().data_dir, to, sys.stdout.buffer)
    print(f"Wrote {to or 'the archive'}: {_of(contents)}. Who has it can take any seat; keep it safe.", file=sys.stderr)


def restore(file: Annotated[Path, typer.Argument(help="An archive of backup; - for standard input.")]) -> None:
    """Replace what is stored of the learners by an archive, while the server is stopped."""
    folder = settings_of().data_dir
    with _told(), opened(None if file == _STANDARD else file) as source:
        done = restore_from(folder, source)
    print(f"Restored {' and '.join(done.names)} in {folder}: {_of(done.contents)}.")
    if done.kept:
        print(f"What was there before is in {done.kept}.")


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ArchiveError as error:
        stop(str(error), code=1)
    except (OSError, sqlite3.Error) as error:
        stop(f"That failed, and nothing was changed: {_reason(error)}.", code=1)


def _reason(error: OSError | sqlite3.Error) -> str:
    """Return the system's words with the path that they are about, or with the folder of an unfinished archive."""
    if not isinstance(error, OSError) or not error.filename:
        return str(error)
    place = Path(str(error.filename))
    return f"{place.parent if place.name.startswith(PART) else place}: {error.strerror}"


def _of(contents: Contents) -> str:
    seats = f"{contents.seats} seat{'' if contents.seats == 1 else 's'}"
    return f"{seats}, database version {contents.version}, {contents.size / 1024:,.0f} KiB"
