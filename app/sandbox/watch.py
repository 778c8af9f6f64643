"""Watches what a run uses as a whole: resource limits hold single processes only.

A look costs well under a millisecond: the run's processes are found from its first one downwards, and the
walk through its files ends at the limit.
"""

import os
import resource
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.events import Limit
from app.sandbox.limits import Limits
from app.sandbox.users import acting_as, may_look

TICK = 0.05
"""Seconds between two looks at the processes."""

_FILES_EVERY = 2
_LEAST_FREE = 256 * 1024 * 1024
_CLOCK = os.sysconf("SC_CLK_TCK")
_PAGE = resource.getpagesize()


@dataclass(frozen=True)
class Usage:
    """What a tree of processes uses: seconds of processor time, bytes of memory of its own, processes and threads."""

    cpu_seconds: float
    memory_bytes: int
    processes: int


class Watch:
    """Looks at one run; ``look`` is called every ``TICK`` seconds and says which limit is broken."""

    def __init__(self, pid: int, root: Path, limits: Limits, user: int | None = None) -> None:
        self._pid = pid
        self._root = root
        self._limits = limits
        self._user = None if may_look() else user
        self._looks = 0

    def look(self) -> Limit | None:
        """The first limit that the run has broken, or None."""
        self._looks += 1
        most = self._limits
        used = usage(self._pid, most.processes)
        if used.cpu_seconds > most.cpu_seconds:
            return "cpu"
        if used.memory_bytes > most.memory_bytes:
            return "memory"
        if used.processes > most.processes:
            return "processes"
        return self.files() if self._looks % _FILES_EVERY == 0 else None

    def files(self) -> Limit | None:
        """The limit that the run's files have broken, or None."""
        with acting_as(self._user):
            return self._files()

    def _files(self) -> Limit | None:
        size = _deleted_bytes(self._pid)
        most = self._limits
        try:
            for count, status in enumerate(_files(self._root), 1):
                size += status.st_blocks * 512
                if status.st_size >= most.file_size_bytes and stat.S_ISREG(status.st_mode):
                    return "file-size"
                if count > most.workspace_files:
                    return "files"
                if size > most.workspace_bytes:
                    return "workspace"
        except _HiddenError:
            return "files"
        # Bytes can still be out of sight, in descriptors on their way through a socket.
        disk = os.statvfs(self._root)
        return "workspace" if disk.f_bavail * disk.f_frsize < _LEAST_FREE else None


class _HiddenError(Exception):
    """A folder that cannot be looked into: nothing honest makes one."""


def usage(pid: int, most: int = sys.maxsize) -> Usage:
    """What the process and all below it use at this moment; those that have just ended count as nothing.

    The count ends above ``most`` processes: a fork bomb makes them faster than anybody counts.
    """
    ticks = memory = processes = 0
    for one in descendants(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
            size = Path(f"/proc/{one}/statm").read_text().split()
        except (OSError, IndexError):
            continue
        # utime, stime, and those of the children that were waited for.
        ticks += sum(int(fields[index]) for index in (11, 12, 13, 14))
        processes += int(fields[17])
        memory += (int(size[1]) - int(size[2])) * _PAGE
        if processes > most:
            break
    return Usage(ticks / _CLOCK, memory, processes)


def descendants(pid: int) -> Iterator[int]:
    """The process and all below it."""
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        yield one
        try:
            threads = os.listdir(f"/proc/{one}/task")
        except OSError:
            continue
        for thread in threads:
            try:
                children = Path(f"/proc/{one}/task/{thread}/children").read_text()
            except OSError:
                continue
            waiting += map(int, children.split())


def _files(root: Path) -> Iterator[os.stat_result]:
    folders = [os.fspath(root)]
    while folders:
        folder = folders.pop()
        for entry in _entries(folder):
            try:
                yield entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _HiddenError from error


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        return _entries_of_closed(folder)
    except OSError as error:
        # Too deep for a path: files would be out of sight there.
        raise _HiddenError from error


def _entries_of_closed(folder: str) -> list[os.DirEntry[str]]:
    # By a descriptor that no link was followed to: the run may exchange the folder while we look.
    try:
        handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return []
    try:
        os.chmod(f"/proc/self/fd/{handle}", stat.S_IRWXU)
        return list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _HiddenError from error
    finally:
        os.close(handle)


def _deleted_bytes(pid: int) -> int:
    """What the processes still hold of files that have no name any more, open or mapped."""
    sizes: dict[tuple[int, int], int] = {}
    for one in descendants(pid):
        for status in _open_files(one):
            if status.st_nlink == 0 and stat.S_ISREG(status.st_mode):
                sizes[status.st_dev, status.st_ino] = status.st_blocks * 512
        for inode, size in _deleted_maps(one):
            sizes.setdefault((-1, inode), size)
    return sum(sizes.values())


def _open_files(pid: int) -> Iterator[os.stat_result]:
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    for name in names:
        try:
            yield os.stat(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue


def _deleted_maps(pid: int) -> Iterator[tuple[int, int]]:
    try:
        lines = Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        if line.endswith(" (deleted)"):
            addresses, _, _, _, inode, _ = line.split(maxsplit=5)
            start, end = addresses.split("-")
            yield int(inode), int(end, 16) - int(start, 16)
