"""Measure the resources that runs use, from outside, every twentieth of a second."""

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

_PAGE = os.sysconf("SC_PAGE_SIZE")
_EVERY = 0.05


def children(top: int | None) -> list[int]:
    """Return the descendants of a process, or every process of the machine for None."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            # Without buffers and decoding, because the watch reads hundreds of these files twenty times a second.
            with contextlib.suppress(OSError, IndexError), open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                parents[int(name)] = int(file.read().rpartition(b")")[2].split(None, 2)[1])
    if top is None:
        return list(parents)
    found, fresh = set[int](), {top}
    while fresh:
        fresh = {pid for pid, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return sorted(found)


def command_line(pid: int) -> str:
    """Return a process's arguments, empty if the process has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


def resident(pid: int) -> int:
    """Return the resident memory in bytes, even if the process's first thread has ended; 0 if the process is gone."""
    with contextlib.suppress(OSError, IndexError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            if pages := int(Path(f"/proc/{pid}/task/{thread}/statm").read_text().split()[1]):
                return pages * _PAGE
    return 0


def _number(path: str, pattern: str) -> int:
    found = re.search(pattern, Path(path).read_text())
    return int(found[1]) if found else 0


class Watch:
    """Samples the machine during the blocks of ``peaks``, which measures how far each value rises."""

    def __init__(self, server: int, scratch: Path) -> None:
        self._server = server
        self._scratch = scratch
        self._stopped = threading.Event()
        self._watched: dict[int, dict[str, float]] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Self:
        self._base = self._now()
        self.began = time.time()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    @contextlib.contextmanager
    def peaks(self) -> Iterator[dict[str, float]]:
        """Collect the peaks of a block; they are complete on leaving it."""
        mine: dict[str, float] = {}
        with self._lock:
            self._watched[id(mine)] = mine
        try:
            yield mine
        finally:
            with self._lock:
                del self._watched[id(mine)]

    def _sample(self) -> None:
        while not self._stopped.wait(_EVERY):
            with self._lock:
                idle = not self._watched
            if idle:
                continue
            now = self._now()
            with self._lock:
                for mine in self._watched.values():
                    for name, value in now.items():
                        mine[name] = max(mine.get(name, 0), value - self._base[name])

    def _now(self) -> dict[str, float]:
        runs = children(self._server)
        kept = os.statvfs(self._scratch)
        laid = list(self._laid(runs))
        return {
            "memory": sum(resident(pid) for pid in runs),
            "shared": _number("/proc/meminfo", r"Shmem:\s+(\d+)") * 1024,
            "server": resident(self._server),
            "tasks": _number("/proc/loadavg", r"\d+/(\d+)"),
            "descriptors": _number("/proc/sys/fs/file-nr", r"(\d+)"),
            "disk": (kept.f_blocks - kept.f_bfree) * kept.f_frsize,
            "files": len(laid),
            "largest": max(laid, default=0),
        }

    def _laid(self, runs: Iterable[int]) -> Iterator[int]:
        """Return the sizes of the runs' files, including those that only the runs can see."""
        yield from _sizes(self._scratch)
        device = os.stat(self._scratch).st_dev
        seen = {device, os.stat("/").st_dev, os.stat("/dev").st_dev}
        for pid in runs:
            for place in ("playground", "tmp"):
                with contextlib.suppress(OSError):
                    path = Path(f"/proc/{pid}/root/{place}")
                    here = path.stat().st_dev
                    if here not in seen:
                        seen.add(here)
                        yield from _sizes(path)


def _sizes(top: Path) -> Iterator[int]:
    stack = [str(top)]
    while stack:
        with contextlib.suppress(OSError), os.scandir(stack.pop()) as found:
            for entry in found:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(entry.path)
                    yield entry.stat(follow_symlinks=False).st_size
