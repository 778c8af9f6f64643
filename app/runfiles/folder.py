"""A folder that a run can write to, opened before the run starts."""

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import Self

from app.runfiles.beneath import FOLDER, HANDLE, ONLY_NAME, OURS, open_beneath, parts_of
from app.runfiles.removal import remove

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""Errors of a path whose folder was moved, deleted or replaced by a link meanwhile."""
_MOST_LISTED = 20_000
_MOST_NAMES = 4
_COPIED_AT_ONCE = 1 << 20


class HiddenError(Exception):
    """A folder that cannot be listed or is nested too deeply. An honest program makes none."""


@dataclass(frozen=True)
class FolderEntry:
    """An entry that ``walk`` found: the descriptor of its folder, its path below the top, and the listing's entry."""

    folder: int
    path: str
    entry: os.DirEntry[str]


class RunFolder:
    """The folder of one run. ``owner`` is the run's user id, by default the server's own.

    Paths are strings relative to the folder. Methods block, so call them in threads. They raise ``OSError`` for faults
    of the machine (``OURS``); their return value tells the state of the run's files.
    """

    def __init__(self, path: Path, owner: int | None = None) -> None:
        self.path = path
        self.owner = os.geteuid() if owner is None else owner
        self._handle = -1

    def make(self) -> Self:
        """Make the folder, which must not exist yet, and open it."""
        os.mkdir(self.path, 0o700)
        return self.open()

    def open(self) -> Self:
        """Open the folder. Its parent must be one that no run can write to."""
        self.close()
        self._handle = os.open(self.path, HANDLE)
        return self

    def close(self) -> None:
        """Close the folder, unless it is closed."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, path: str, data: bytes) -> None:
        """Write a new file and make the folders above it. Raises ``FileExistsError``, ``NotADirectoryError``."""
        with self._new_file(path, 0o666) as file:
            _write(file, data)

    def copy_in(self, path: str, source: Path) -> None:
        """Copy one of the server's files to a new executable file. Raises the errors of ``write``."""
        with source.open("rb") as read, self._new_file(path, 0o500) as file, open(file, "wb", closefd=False) as written:
            shutil.copyfileobj(read, written, _COPIED_AT_ONCE)

    def delete(self, path: str) -> None:
        """Delete a file."""
        *above, name = parts_of(path)
        folder = open_beneath(self._handle, "/".join(above), HANDLE)
        try:
            os.unlink(name, dir_fd=folder)
        finally:
            os.close(folder)

    def make_folder(self, path: str) -> None:
        """Make a folder and those above it, unless they exist."""
        os.close(self._make_folders(parts_of(path)))

    def give(self) -> None:
        """Change the owner of the folder and of everything in it to the run's user, before the run starts."""
        if self.owner == os.geteuid():
            return
        for found in self.walk():
            os.chown(found.entry.name, self.owner, self.owner, dir_fd=found.folder, follow_symlinks=False)
        os.chown(".", self.owner, self.owner, dir_fd=self._handle)

    def give_files(self, paths: Iterable[str]) -> None:
        """Change the owner of these files and of the folders above them, before the run starts."""
        if self.owner == os.geteuid():
            return
        for name in {each for path in paths for each in (path, *map(str, PurePosixPath(path).parents[:-1]))}:
            above, _, own = name.rpartition("/")
            folder = open_beneath(self._handle, above, HANDLE)
            try:
                os.chown(own, self.owner, self.owner, dir_fd=folder, follow_symlinks=False)
            finally:
                os.close(folder)

    def read(self, path: str, most: int) -> bytes | None:
        """Return a file's content, or None unless it is a regular file of the run of at most ``most`` bytes."""
        try:
            file = open_beneath(self._handle, path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in OURS:
                raise
            return None
        try:
            status = os.fstat(file)
            if not self._is_own_file(status, most) or status.st_nlink != 1:
                return None
            return _read(file, most)
        finally:
            os.close(file)

    def size_of(self, path: str) -> int | None:
        """Return the size of a regular file of the run, or None for anything else."""
        status = self._status(path)
        return status.st_size if status and self._is_own_file(status) else None

    def take(self, path: str, there: Path, most: int) -> int | None:
        """Move a file out of the folder and return its size, or None if it is not a file of the run's alone.

        ``there`` is a path in a folder of the server, which is made if necessary. Files are moved, because copying
        10 MB would take longer than everything else. All names of a file are moved, because cargo gives an artifact a
        second name nearby. If a name remains elsewhere, another program may have the file, and it is not taken.
        """
        status = self._status(path)
        names = self._names(status, path) if status and self._is_own_file(status, most) else []
        if status is None or not names:
            return None
        there.parent.mkdir(mode=0o700, exist_ok=True)
        target = os.open(there.parent, HANDLE)
        moved: list[str] = []
        try:
            for number, name in enumerate(names):
                moved.append(f"{there.name}.{number}" if number else there.name)
                self._move(name, target, moved[-1])
            if self._is_alone(status, target, moved, most):
                return _adopt(target, moved)
        except OSError as error:
            if error.errno in OURS:
                raise
        finally:
            os.close(target)
        for name in moved:
            _discard(there.with_name(name))
        return None

    def walk(self, below: str = "") -> Iterator[FolderEntry]:
        """Yield every entry below a folder that exists when it is reached. Links are not followed.

        Raises ``HiddenError``, and ``OSError`` for faults of the machine.
        """
        waiting = [below]
        while waiting:
            above = waiting.pop()
            folder = self._listable(above)
            if folder is None:
                continue
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        path = f"{above}/{entry.name}" if above else entry.name
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(path)
                        yield FolderEntry(folder, path, entry)
            finally:
                os.close(folder)

    def free_bytes(self) -> int:
        """Return the free bytes of the disk."""
        disk = os.statvfs(self._handle if self._handle >= 0 else self.path)
        return disk.f_bavail * disk.f_frsize

    @contextmanager
    def _new_file(self, path: str, mode: int) -> Iterator[int]:
        *above, name = parts_of(path)
        folder = self._make_folders(tuple(above))
        try:
            file = os.open(
                name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder
            )
        finally:
            os.close(folder)
        try:
            yield file
        finally:
            os.close(file)

    def _make_folders(self, parts: tuple[str, ...]) -> int:
        """Make the folders that do not exist yet; return a descriptor of the last one."""
        handle = os.dup(self._handle)
        try:
            for part in parts:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=handle)
                following = os.open(part, HANDLE, dir_fd=handle)
                os.close(handle)
                handle = following
        except OSError:
            os.close(handle)
            raise
        return handle

    def _status(self, path: str) -> os.stat_result | None:
        try:
            handle = open_beneath(self._handle, path, ONLY_NAME)
        except OSError as error:
            if error.errno in OURS:
                raise
            return None
        try:
            return os.fstat(handle)
        finally:
            os.close(handle)

    def _is_own_file(self, status: os.stat_result, most: int | None = None) -> bool:
        fits = most is None or status.st_size <= most
        return stat.S_ISREG(status.st_mode) and status.st_uid == self.owner and fits

    def _names(self, status: os.stat_result, path: str) -> list[str]:
        """Return all names of the file, this one first, or none if some are outside the folder."""
        names = {path: None}
        below = (path.rpartition("/")[0], "") if 1 < status.st_nlink <= _MOST_NAMES else ()
        with suppress(HiddenError):
            for found in islice(chain.from_iterable(map(self.walk, below)), _MOST_LISTED):
                if found.entry.is_file(follow_symlinks=False) and _is_same(found.entry, status):
                    names[found.path] = None
                if len(names) == status.st_nlink:
                    break
        return list(names) if len(names) == status.st_nlink else []

    def _move(self, path: str, target: int, name: str) -> None:
        above, _, own = path.rpartition("/")
        source = open_beneath(self._handle, above, HANDLE)
        try:
            os.rename(own, name, src_dir_fd=source, dst_dir_fd=target)
        finally:
            os.close(source)

    def _is_alone(self, status: os.stat_result, target: int, names: list[str], most: int) -> bool:
        """Return True if the moved names, which no run can change now, are exactly the examined file."""
        moved = [os.stat(name, dir_fd=target, follow_symlinks=False) for name in names]
        same = all((one.st_dev, one.st_ino) == (status.st_dev, status.st_ino) for one in moved)
        return same and self._is_own_file(moved[0], most) and moved[0].st_nlink == len(names)

    def _listable(self, path: str) -> int | None:
        """Return a descriptor to list a folder, or None if it is gone. Change its mode if that forbids listing."""
        try:
            try:
                return open_beneath(self._handle, path, FOLDER)
            except PermissionError:
                return self._open_after_chmod(path)
        except OSError as error:
            if error.errno in _GONE:
                return None
            if error.errno in OURS:
                raise
            raise HiddenError(path) from error

    def _open_after_chmod(self, path: str) -> int:
        # ``.`` cannot be looked up in a folder without the right to search it, so the folder itself is duplicated.
        handle = open_beneath(self._handle, path, HANDLE) if path else os.dup(self._handle)
        try:
            if os.fstat(handle).st_uid == self.owner:
                os.chmod(f"/proc/self/fd/{handle}", stat.S_IRWXU)
            return os.open(".", FOLDER, dir_fd=handle)
        finally:
            os.close(handle)


def _is_same(entry: os.DirEntry[str], status: os.stat_result) -> bool:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (status.st_dev, status.st_ino)


def _adopt(target: int, names: list[str]) -> int:
    """Make a moved file the server's own and read-only; return its size."""
    name, *further = names
    for one in further:
        os.unlink(one, dir_fd=target)
    os.chown(name, os.geteuid(), os.getegid(), dir_fd=target, follow_symlinks=False)
    os.chmod(name, 0o400, dir_fd=target)
    return os.stat(name, dir_fd=target, follow_symlinks=False).st_size


def _discard(path: Path) -> None:
    try:
        os.unlink(path)
    except OSError:
        remove(path)


def _read(file: int, most: int) -> bytes:
    found = bytearray()
    while len(found) < most and (data := os.read(file, most - len(found))):
        found += data
    return bytes(found)


def _write(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
