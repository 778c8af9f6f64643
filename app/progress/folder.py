"""The data folder: the names of its files, its lock, its owner, and its newest backup.

The lock is a ``flock`` on the folder itself, so it needs no file, no right to write, and ends with its process.
"""

import fcntl
import json
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

DATABASE = "progress.sqlite3"
SEAT_KEY = "seat.key"
KEY_BYTES = 32
RESTORING = "restoring"
"""The file that marks a folder in which a restore has begun to replace files."""
REPLACED = "before-restore-"
"""Start of the names of the folders that hold what restores have replaced."""
_NOTE = "last-backup.json"
_ROOM_BYTES = 256 * 1024 * 1024


class FolderInUseError(Exception):
    """Another process holds the lock in a way that excludes this one."""


@contextmanager
def held(folder: Path, *, alone: bool) -> Iterator[None]:
    """Hold the folder's lock, which servers share and a restore needs ``alone``.

    Raises ``FolderInUseError``, ``OSError``.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUseError(str(folder)) from None
        yield
    finally:
        os.close(descriptor)


def give_to_owner(path: Path, folder: Path) -> None:
    """Give a file to the user whose data the folder holds, if root has written it. Changes nothing for other users."""
    if os.geteuid() == 0:
        owner = _owner(folder)
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _owner(folder: Path) -> os.stat_result:
    """Return the status of what the server's user owns. A fresh volume belongs to root, whichever user it serves."""
    own = folder.stat()
    database = folder / DATABASE
    return database.stat() if own.st_uid == 0 and database.exists() else own


def has_room(folder: Path) -> bool:
    """Return False if less than 256 MiB of the folder's disk are free, or less than a twentieth of a small one."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize >= min(_ROOM_BYTES, disk.f_blocks * disk.f_frsize // 20)


def flush(path: Path) -> None:
    """Sync the file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def user_name(number: int) -> str:
    """Return the user's name for people, or the number if it has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def note_backup(folder: Path, file: Path | None) -> None:
    """Note in the data folder that a backup was made; None for one to standard output. A note is no must."""
    note = folder / _NOTE
    fresh = note.with_name(f"{_NOTE}.part")
    at = datetime.now(UTC).isoformat(timespec="seconds")
    with suppress(OSError):
        fresh.write_text(json.dumps({"at": at, "file": str(file.resolve()) if file else None}))
        fresh.chmod(0o600)
        give_to_owner(fresh, folder)
        fresh.replace(note)


def last_backup(folder: Path) -> tuple[datetime, Path | None] | None:
    """Return when the latest backup was made and its file, or None if the folder has no note of one."""
    try:
        note = json.loads((folder / _NOTE).read_text())
        return datetime.fromisoformat(note["at"]), Path(note["file"]) if note["file"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def newest_backup(folder: Path) -> str:
    """Return one sentence that names the newest backup of the folder, and the command that restores it."""
    found = last_backup(folder)
    if found is None:
        return _newest_copy(folder)
    at, file = found
    day = f"{at:%Y-%m-%d %H:%M} UTC"
    if file is None:
        return f"The newest backup is of {day} and went to standard output; restore it with `playground restore FILE`."
    if not file.exists():
        return f"The newest backup was {file} of {day}, which this process cannot find."
    return f"The newest backup is {file} of {day}; restore it with `playground restore {file}`."


def _newest_copy(folder: Path) -> str:
    copies = sorted(folder.glob(f"{DATABASE}.version-*"), key=lambda path: path.stat().st_mtime)
    if not copies:
        return "No backup of it is known; restore one with `playground restore FILE`."
    at = datetime.fromtimestamp(copies[-1].stat().st_mtime, UTC)
    return (
        f"No backup is known; the newest copy of the database is {copies[-1]} of {at:%Y-%m-%d %H:%M} UTC, "
        f"from before a migration; restore it with `playground restore {copies[-1]}`."
    )
