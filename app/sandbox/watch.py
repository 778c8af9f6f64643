"""Watches what a run uses as a whole: resource limits hold single processes only.

A look costs well under a millisecond: the run's processes are found from its first one downwards, and the
walk through its files ends at the limit.
"""

import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from app.protocol.events import Limit
from app.runfiles import OURS, HiddenError, RunFolder
from app.sandbox.limits import Limits
from app.sandbox.users import acting_as, may_look

TICK = 0.05
"""Seconds between two looks at the processes."""

_REST = 4
"""Times as long as a look at the files took, the next one waits: a run that is large on purpose takes no more."""
_LEAST_FREE = 256 * 1024 * 1024
_LONGEST_MAPS = 4 * 1024 * 1024
"""Bytes that the lists of a run's mappings may have together.

Each line ends with a path that the run chose, up to tens of KiB, and a process may have 65,530 lines: read as a whole,
one list takes gigabytes of the server's memory. Lists of compilers have less than 100 KiB.
"""
_CLOCK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """What a tree of processes uses: seconds of processor time, bytes of memory of its own, processes and threads."""

    cpu_seconds: float
    memory_bytes: int
    processes: int


class Watch:
    """Looks at one run; ``look`` is called every ``TICK`` seconds and says which limit is broken."""

    def __init__(self, pid: int, folder: RunFolder, limits: Limits, user: int | None = None) -> None:
        self._pid = pid
        self._folder = folder
        self._limits = limits
        self._user = None if may_look() else user
        self._due = 0.0

    def look(self) -> Limit | None:
        """The first limit that the run has broken, or None."""
        most = self._limits
        used = usage(self._pid, most.processes)
        if used.cpu_seconds > most.cpu_seconds:
            return "cpu"
        if used.memory_bytes > most.memory_bytes:
            return "memory"
        if used.processes > most.processes:
            return "processes"
        began = time.monotonic()
        if began < self._due:
            return None
        found = self.files()
        ended = time.monotonic()
        self._due = ended + max(TICK, _REST * (ended - began))
        return found

    def files(self) -> Limit | None:
        """The limit that the run's files have broken, or None."""
        with acting_as(self._user):
            return self._files()

    def _files(self) -> Limit | None:
        most = self._limits
        held = _usage_of_open_files(self._pid, most.file_size_bytes)
        if held.sockets > most.memory_bytes or held.listed > _LONGEST_MAPS:
            return "memory"
        size = held.files
        try:
            for count, status in enumerate(_statuses(self._folder), 1):
                size += status.st_blocks * 512
                if status.st_size >= most.file_size_bytes and stat.S_ISREG(status.st_mode):
                    return "file-size"
                if count > most.workspace_files:
                    return "files"
                if size > most.workspace_bytes:
                    return "workspace"
        except HiddenError:
            return "files"
        except OSError as error:
            # The server itself has no descriptor left, say: the next look may have one.
            if error.errno not in OURS:
                raise
        # Bytes can still be out of sight, in descriptors on their way through a socket.
        return "workspace" if self._folder.free_bytes() < _LEAST_FREE else None


def _statuses(folder: RunFolder) -> Iterator[os.stat_result]:
    for found in folder.walk():
        try:
            yield found.entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        except PermissionError as error:
            raise HiddenError(found.path) from error


def usage(pid: int, most: int = sys.maxsize) -> Usage:
    """What the process and all below it use at this moment; those that have just ended count as nothing.

    The count ends above ``most`` processes: a fork bomb makes them faster than anybody counts.
    """
    ticks = memory = processes = 0
    for one in descendants(pid):
        try:
            fields = _fields(f"/proc/{one}")
            memory += _own_memory(_living(one))
        except (OSError, IndexError):
            continue
        # utime, stime, and those of the children that were waited for.
        ticks += sum(int(fields[index]) for index in (11, 12, 13, 14))
        processes += int(fields[17])
        if processes > most:
            break
    return Usage(ticks / _CLOCK, memory, processes)


def _fields(folder: str) -> list[bytes]:
    """What the kernel says of a process or a thread in its file ``stat``, from the state on.

    Bytes, because a process gives itself a name, of whatever bytes, which stands in such files.
    """
    return Path(folder, "stat").read_bytes().rsplit(b")", 1)[1].split()


def _living(pid: int) -> str:
    """The folder of a thread of the process that has not ended.

    The first thread may end before the others. What the kernel tells of the process is what it tells of that thread:
    no memory, no open files.
    """
    for thread in os.listdir(f"/proc/{pid}/task"):
        folder = f"/proc/{pid}/task/{thread}"
        with suppress(OSError, IndexError):
            if _fields(folder)[0] not in (b"Z", b"X"):
                return folder
    return f"/proc/{pid}"


def _own_memory(folder: str) -> int:
    """Bytes that a process has for itself, in memory or swapped out."""
    lines = Path(folder, "status").read_bytes().split(b"\n")
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith((b"RssAnon:", b"VmSwap:")))


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


@dataclass(frozen=True)
class _OpenFiles:
    """Bytes of deleted files that are open or mapped, bytes at most in sockets, bytes of the lists of mappings."""

    files: int
    sockets: int
    listed: int


def _usage_of_open_files(pid: int, largest: int) -> _OpenFiles:
    """Return what the processes hold beside what has a name.

    A deleted file that is only mapped counts as ``largest``: its size cannot be asked for, and one mapped page keeps
    all of its blocks.
    """
    sizes: dict[tuple[int, int], int] = {}
    mapped: set[tuple[int, int]] = set()
    sockets: set[int] = set()
    listed = 0
    for one in descendants(pid):
        try:
            folder = _living(one)
        except OSError:
            continue
        for status in _open_files(folder):
            if stat.S_ISSOCK(status.st_mode):
                sockets.add(status.st_ino)
            elif status.st_nlink == 0 and stat.S_ISREG(status.st_mode):
                sizes[status.st_dev, status.st_ino] = status.st_blocks * 512
        maps = _maps(folder, _LONGEST_MAPS + 1 - listed)
        listed += len(maps)
        if listed > _LONGEST_MAPS:
            break
        mapped |= _deleted(maps)
    files = sum(sizes.values()) + len(mapped - sizes.keys()) * largest
    return _OpenFiles(files, len(sockets) * _socket_bytes(), listed)


@cache
def _socket_bytes() -> int:
    """What one socket may hold for a reader that does not come, in the kernel's memory."""
    try:
        return 2 * int(Path("/proc/sys/net/core/wmem_max").read_text())
    except (OSError, ValueError):
        return 2 * 212_992


def _open_files(folder: str) -> Iterator[os.stat_result]:
    try:
        names = os.listdir(f"{folder}/fd")
    except OSError:
        return
    for name in names:
        try:
            yield os.stat(f"{folder}/fd/{name}")
        except OSError:
            continue


def _maps(folder: str, most: int) -> bytes:
    """Return the list of a process's mappings, cut off after ``most`` bytes."""
    try:
        with open(f"{folder}/maps", "rb") as file:
            return file.read(most)
    except OSError:
        return b""


def _deleted(maps: bytes) -> set[tuple[int, int]]:
    """Return device and inode of each deleted file in a list of mappings."""
    found = set()
    for line in maps.split(b"\n"):
        if line.endswith(b" (deleted)"):
            _, _, _, device, inode, _ = line.split(maxsplit=5)
            major, minor = device.split(b":")
            found.add((os.makedev(int(major, 16), int(minor, 16)), int(inode)))
    return found
