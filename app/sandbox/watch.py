"""Measure what all processes of a run use together. Resource limits only apply to single processes.

A measurement takes well under a millisecond: it walks down from the run's first process, and the walk through the files
ends at the limit.
"""

import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from app.protocol.events import Limit
from app.runfiles import OURS, HiddenError, RunFolder
from app.sandbox.limits import Limits
from app.sandbox.users import acting_as, may_look

TICK = 0.05
"""Seconds between two measurements of the processes."""

POLITE_SECONDS = 2.0
"""Processor time after which a run yields to others. A build of a lesson takes a tenth of a second."""
_POLITE = 19
"""The niceness of a run that yields, besides SCHED_IDLE (sched(7)).

It must be above that of other runs, which have 10 without a user of their own. Niceness alone is not enough: on two
processors, a build took 25 % longer beside eight such processes. With SCHED_IDLE it takes 10 % longer, beside two
or eight.
"""

_REST = 4
"""The pause after a measurement of the files, as a multiple of its duration.

A run with many files therefore uses at most a fifth of a core.
"""
_LEAST_FREE = 256 * 1024 * 1024
_LONGEST_MAPS = 4 * 1024 * 1024
"""The limit for the lists of a run's mappings, in bytes, over all its processes.

Each line ends with a path that the run chose, up to tens of KiB, and a process may have 65,530 lines. Read as a whole,
one list could take gigabytes of the server's memory. Lists of compilers have less than 100 KiB.
"""
_CLOCK = os.sysconf("SC_CLK_TCK")
_ENDED = (b"Z", b"X")
"""The states of a thread that has ended."""
_PROC_BYTES = 4096


@dataclass(frozen=True)
class Usage:
    """The usage of a tree of processes: processor time, private memory, and the number of processes and threads."""

    cpu_seconds: float
    memory_bytes: int
    processes: int


class Watch:
    """Measures one run. Call ``look`` every ``TICK`` seconds.

    ``must_yield`` is asked each time; once it returns True, the run yields to others, however little it has used.
    ``is_reaped`` says that the first process is the launcher, which ends the others and so stays ahead of them.
    """

    def __init__(
        self, pid: int, folder: RunFolder, limits: Limits, user: int | None = None, *, is_reaped: bool = False
    ) -> None:
        self._pid = pid
        self._folder = folder
        self._limits = limits
        self._user = None if may_look() else user
        self._is_reaped = is_reaped
        self._due: float | None = None
        self._polite = False
        self.must_yield: Callable[[], bool] = bool

    def look(self) -> Limit | None:
        """Return the first limit that the run exceeds, or None."""
        most = self._limits
        used = usage(self._pid, most.processes)
        if not self._polite and (used.cpu_seconds > POLITE_SECONDS or self.must_yield()):
            others = [*descendants(self._pid)][self._is_reaped :]
            self._polite = bool(others) and _yield_processors(others)
        if used.cpu_seconds > most.cpu_seconds:
            return "cpu"
        if used.memory_bytes > most.memory_bytes:
            return "memory"
        if used.processes > most.processes:
            return "processes"
        began = time.monotonic()
        if self._due is None:
            # Not at the first look: most builds end before the second, and this costs as much as all else.
            self._due = began
            return None
        if began < self._due:
            return None
        found = self.files()
        ended = time.monotonic()
        self._due = ended + max(TICK, _REST * (ended - began))
        return found

    def files(self) -> Limit | None:
        """Return the limit that the run's files exceed, or None."""
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
            # The failure is the server's, such as a lack of descriptors. The next measurement may succeed.
            if error.errno not in OURS:
                raise
        # Some bytes cannot be found, such as deleted files whose descriptors are in transit through a socket.
        return "workspace" if self._folder.free_bytes() < _LEAST_FREE else None


def _yield_processors(processes: Iterable[int]) -> bool:
    """Let every thread of these processes go after those of other runs. Their later children inherit this.

    Return False if it must be repeated: after a change, because a process may have left children that were not seen,
    and because the kernel lets users other than root change sessions only ten times a second.
    """
    complete = True
    for one in processes:
        with suppress(FileNotFoundError):  # it has ended
            for thread in os.listdir(f"/proc/{one}/task"):
                with suppress(OSError):  # it is another user's, and the server lacks the right
                    if os.sched_getscheduler(int(thread)) != os.SCHED_IDLE:
                        os.setpriority(os.PRIO_PROCESS, int(thread), _POLITE)
                        os.sched_setscheduler(int(thread), os.SCHED_IDLE, os.sched_param(0))
                        complete = False
        try:
            _yield_as_session(one)
        except BlockingIOError:
            complete = False
        except OSError:  # as above, or the kernel has no such groups
            pass
    return complete


def _yield_as_session(pid: int) -> None:
    """Lower the weight of a process's session, unless it is the server's own.

    On desktops, the kernel shares processors between sessions (sched(7), "autogroup"), and niceness only counts within
    one.
    """
    if os.getsid(pid) != os.getsid(0):
        with open(f"/proc/{pid}/autogroup", "w") as file:
            file.write(str(_POLITE))


def _statuses(folder: RunFolder) -> Iterator[os.stat_result]:
    for found in folder.walk():
        try:
            yield found.entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        except PermissionError as error:
            raise HiddenError(found.path) from error


def usage(pid: int, most: int = sys.maxsize) -> Usage:
    """Measure the process and its descendants. Processes that end during the measurement do not count.

    The count stops above ``most`` processes, because a fork bomb can create them faster than they can be counted.
    """
    ticks = memory = processes = 0
    for one in descendants(pid):
        try:
            fields = _fields(f"/proc/{one}")
            memory += _own_memory(_living(one, fields[0]))
        except (OSError, IndexError):
            continue
        # utime and stime, and cutime and cstime of children that were waited for.
        ticks += sum(int(fields[index]) for index in (11, 12, 13, 14))
        processes += int(fields[17])
        if processes > most:
            break
    return Usage(ticks / _CLOCK, memory, processes)


def _fields(folder: str) -> list[bytes]:
    """Return the fields of a process's or thread's file ``stat``, from the state on.

    They are bytes, because the file contains the process's name, which can be any bytes.
    """
    return _content(f"{folder}/stat").rsplit(b")", 1)[1].split()


def _living(pid: int, state: bytes | None = None) -> str:
    """Return the /proc folder of a thread of the process that has not ended. ``state`` is the main thread's, if known.

    The main thread may end before the others. The kernel then reports no memory and no open files for the process.
    """
    if (state or _fields(f"/proc/{pid}")[0]) not in _ENDED:
        return f"/proc/{pid}"
    for thread in os.listdir(f"/proc/{pid}/task"):
        folder = f"/proc/{pid}/task/{thread}"
        with suppress(OSError, IndexError):
            if _fields(folder)[0] not in _ENDED:
                return folder
    return f"/proc/{pid}"


def _own_memory(folder: str) -> int:
    """Return the bytes of a process's private memory, resident or swapped out."""
    lines = _content(f"{folder}/status").split(b"\n")
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith((b"RssAnon:", b"VmSwap:")))


def descendants(pid: int) -> Iterator[int]:
    """Yield the process and its descendants."""
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
                children = _content(f"/proc/{one}/task/{thread}/children")
            except OSError:
                continue
            waiting += map(int, children.split())


def _content(path: str) -> bytes:
    """Return the content of a file of /proc; ``Path`` would take three times as long. Raises ``OSError``."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = bytearray()
        while data := os.read(file, _PROC_BYTES):
            found += data
        return bytes(found)
    finally:
        os.close(file)


@dataclass(frozen=True)
class _OpenFiles:
    """Bytes in open or mapped deleted files, bytes that sockets may hold, and the size of the lists of mappings."""

    files: int
    sockets: int
    listed: int


def _usage_of_open_files(pid: int, largest: int) -> _OpenFiles:
    """Measure what the processes keep without a name in the file system.

    A deleted file that is only mapped counts as ``largest``: its size is unknown, and one mapped page keeps all of its
    blocks.
    """
    sizes: dict[tuple[int, int], int] = {}
    mapped: set[tuple[int, int]] = set()
    sockets: set[int] = set()
    listed = 0
    for one in descendants(pid):
        try:
            folder = _living(one)
        except (OSError, IndexError):
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
    """Return the bytes of kernel memory that one socket may hold while nobody reads from it."""
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
    """Return the list of a process's mappings, at most ``most`` bytes of it."""
    try:
        with open(f"{folder}/maps", "rb") as file:
            return file.read(most)
    except OSError:
        return b""


def _deleted(maps: bytes) -> set[tuple[int, int]]:
    """Return the device and inode of each deleted file in a list of mappings."""
    found = set()
    for line in maps.split(b"\n"):
        if line.endswith(b" (deleted)"):
            _, _, _, device, inode, _ = line.split(maxsplit=5)
            major, minor = device.split(b":")
            found.add((os.makedev(int(major, 16), int(minor, 16)), int(inode)))
    return found
