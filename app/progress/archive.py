"""Back the data folder up to one archive, and restore it. Neither leaves a half of anything.

An archive is a tar file of the database and the keys. A restore unpacks it beside the folder's files and checks all of
it before it touches them; what it replaces is kept.
"""

import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from app.progress.database import UnusableDatabaseError, checked_version, connect, seats_in, used
from app.progress.folder import (
    DATABASE,
    KEY_BYTES,
    REPLACED,
    RESTORING,
    SEAT_KEY,
    FolderInUseError,
    flush,
    give_to_owner,
    held,
    newest_backup,
    note_backup,
)

_KEY = re.compile(r"[a-z][a-z-]*\.key")
_MOST_KEY_BYTES = 4096
_MAGIC = b"SQLite format 3\0"
_SIDE_FILES = (f"{DATABASE}-wal", f"{DATABASE}-shm")
_PART = "restore-part-"
PART = ".playground-backup-"
"""Start of the name of the folder in which an archive is written."""
_NEW_SECONDS = 60.0


class ArchiveError(Exception):
    """A backup or a restore that was not done. The message says why and that nothing was changed."""


@dataclass(frozen=True)
class Contents:
    """The contents of an archive: the database's version, the number of seats, and the bytes of the database."""

    version: int
    seats: int
    size: int


@dataclass(frozen=True)
class Restored:
    """The result of a restore. ``kept`` is the folder with what was replaced, None if there was nothing."""

    contents: Contents
    names: tuple[str, ...]
    kept: Path | None


def back_up(folder: Path, file: Path | None, standard_output: BinaryIO) -> Contents:
    """Write an archive of the folder to the file, or to standard output for None, while servers may use the folder.

    The file appears only when it is complete. Raises ``ArchiveError``, ``sqlite3.Error``, ``OSError``.
    """
    if not (folder / DATABASE).exists():
        raise ArchiveError(f"{folder / DATABASE} does not exist, so there is nothing to back up.")
    try:
        # A restore would replace the key after the database was copied.
        with used(folder):
            return _back_up(folder, file, standard_output)
    except UnusableDatabaseError as error:
        raise ArchiveError(f"No backup was written. {error}") from None


def _back_up(folder: Path, file: Path | None, standard_output: BinaryIO) -> Contents:
    where = file.parent if file else Path(tempfile.gettempdir())
    _remove_abandoned(where)
    with tempfile.TemporaryDirectory(prefix=PART, dir=where) as name, held(Path(name), alone=True):
        copy = Path(name, DATABASE)
        contents = _copy(folder, copy)
        if file is None:
            _write(standard_output, folder, copy)
        else:
            whole = Path(name, "whole")
            with open(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                _write(out, folder, copy)
            flush(whole)
            whole.replace(file)
            flush(file.parent)
    note_backup(folder, file)
    return contents


def _remove_abandoned(where: Path) -> None:
    """Remove the folders of backups that were killed: those that nothing locks. A new one is not locked at once."""
    for left in where.glob(f"{PART}*"):
        with suppress(OSError, FolderInUseError), held(left, alone=True):
            status = left.lstat()
            if status.st_uid == os.geteuid() and time.time() - status.st_mtime > _NEW_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def restore(folder: Path, source: BufferedReader) -> Restored:
    """Replace the folder's data by an archive, or its database by a copy of one.

    Raises ``ArchiveError``, and ``OSError`` if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with held(folder, alone=True):
            return _restore(folder, source)
    except FolderInUseError:
        raise ArchiveError(
            f"A playground or its backup is using {folder}. Stop it, then restore. Nothing was changed."
        ) from None


def _copy(folder: Path, copy: Path) -> Contents:
    database, key = folder / DATABASE, folder / SEAT_KEY
    if key.stat().st_size != KEY_BYTES:
        raise ArchiveError(f"{key} is damaged, so no backup was written. {newest_backup(folder)}")
    try:
        # SQLite's own backup is complete and consistent even while learners write.
        with closing(connect(database, "rw")) as live, closing(sqlite3.connect(copy)) as still:
            still.execute("pragma journal_mode = off")
            live.backup(still)
        return _contents(copy)
    except (UnusableDatabaseError, sqlite3.DatabaseError) as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise ArchiveError(
            f"{database} is damaged, so no backup was written: {error} {newest_backup(folder)}"
        ) from None


def _write(out: BinaryIO, folder: Path, database: Path) -> None:
    keys = sorted(path for path in folder.glob("*.key") if _KEY.fullmatch(path.name) and path.is_file())
    with tarfile.open(mode="w|", fileobj=out) as archive:
        for path in (database, *keys):
            archive.add(path, path.name, filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member


def _restore(folder: Path, source: BufferedReader) -> Restored:
    for left in folder.glob(f"{_PART}*"):  # of a restore that was killed
        shutil.rmtree(left, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=_PART, dir=folder))
    try:
        names = _unpack(source, part)
        contents = _check(part, names)
        for path in part.iterdir():
            path.chmod(0o600)
            give_to_owner(path, folder)
            flush(path)
        return Restored(contents, names, _put(folder, part, names))
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _put(folder: Path, part: Path, names: tuple[str, ...]) -> Path | None:
    """Move the checked files into place; return the folder with what they replaced."""
    # While the mark exists, a server refuses the folder. It stays until a restore has put all of its files in place.
    mark = folder / RESTORING
    mark.touch(0o600)
    give_to_owner(mark, folder)
    flush(folder)
    kept = _keep(folder, names)
    for name in _SIDE_FILES:
        (folder / name).unlink(missing_ok=True)
    for name in names:
        (part / name).replace(folder / name)
    flush(folder)
    mark.unlink()
    flush(folder)
    return kept


def _unpack(source: BufferedReader, part: Path) -> tuple[str, ...]:
    """Write the files of the archive into the folder ``part`` and return their names."""
    if source.peek(len(_MAGIC)).startswith(_MAGIC):
        with open(part / DATABASE, "wb") as file:
            shutil.copyfileobj(source, file)
        return (DATABASE,)
    try:
        with tarfile.open(mode="r|", fileobj=source) as archive:
            for member in archive:
                small = _KEY.fullmatch(member.name) and member.size <= _MOST_KEY_BYTES
                content = archive.extractfile(member) if member.name == DATABASE or small else None
                if content:
                    with open(part / member.name, "wb") as file:
                        shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError) as error:
        raise ArchiveError(f"This is not an archive of `playground backup` ({error}). Nothing was changed.") from None
    found = tuple(sorted(path.name for path in part.iterdir()))
    if lacking := [name for name in (DATABASE, SEAT_KEY) if name not in found]:
        raise ArchiveError(f"The archive lacks {' and '.join(lacking)}. Nothing was changed.")
    return found


def _check(part: Path, names: tuple[str, ...]) -> Contents:
    for name in names:
        size = (part / name).stat().st_size
        if name == SEAT_KEY and size != KEY_BYTES:
            raise ArchiveError(f"{name} in the archive has {size} bytes, not {KEY_BYTES}. Nothing was changed.")
    try:
        contents = _contents(part / DATABASE)
    except (UnusableDatabaseError, sqlite3.Error) as error:
        raise ArchiveError(
            f"The database in the archive cannot be used: {_without(error, part)} Nothing was changed."
        ) from None
    for name in _SIDE_FILES:  # of the check
        (part / name).unlink(missing_ok=True)
    return contents


def _contents(path: Path) -> Contents:
    with closing(connect(path, "rw")) as db:
        version = checked_version(db, path)
        return Contents(version, len(seats_in(db)), path.stat().st_size)


def _without(error: Exception, part: Path) -> str:
    """Return the error's sentence without the path of the unpacked copy, which says nothing to people."""
    sentence = str(error).replace(f"{part}{os.sep}", "").rstrip(".:")
    return f"{sentence}."


def _keep(folder: Path, names: tuple[str, ...]) -> Path | None:
    """Link what will be replaced into a new folder and return it; copy it where there are no hard links."""
    there = [name for name in (*names, *_SIDE_FILES) if (folder / name).exists()]
    if not there:
        return None
    kept = _new_folder(folder)
    for name in there:
        try:
            os.link(folder / name, kept / name)
        except OSError:
            shutil.copy2(folder / name, kept / name)
            give_to_owner(kept / name, folder)
            flush(kept / name)
    give_to_owner(kept, folder)
    flush(kept)
    flush(folder)
    return kept


def _new_folder(folder: Path) -> Path:
    stem = f"{REPLACED}{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}"
    number = 1
    while True:
        kept = folder / (stem if number == 1 else f"{stem}-{number}")
        with suppress(FileExistsError):
            kept.mkdir(mode=0o700)
            return kept
        number += 1


@contextmanager
def opened(file: Path | None) -> Iterator[BufferedReader]:
    """Yield the file, opened for reading, or standard input for None."""
    with open(0 if file is None else file, "rb", closefd=file is not None) as stream:
        yield stream
