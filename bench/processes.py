"""The processor time of a server and of every process that it has started, from /proc."""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_SETTLED = 0.5
_IDLE = 0.05
"""The most processor time that an idle tree uses in ``_SETTLED`` seconds."""
_MOST_LOOKS = 120


@dataclass(frozen=True)
class Parts:
    """Seconds of processor time: of the server, of its children that have ended (runs), and of living descendants.

    The living ones of an idle server are the readers of artifacts, with the children that read one file each.
    """

    server: float = 0.0
    runs: float = 0.0
    readers: float = 0.0

    @property
    def total(self) -> float:
        """The sum."""
        return self.server + self.runs + self.readers

    def since(self, before: Self, runs: int) -> "Parts":
        """Return the milliseconds for each of so many runs."""
        return Parts(
            1000 * (self.server - before.server) / runs,
            1000 * (self.runs - before.runs) / runs,
            1000 * (self.readers - before.readers) / runs,
        )

    def line(self) -> str:
        """The parts as they are printed."""
        return f"{self.total:7.1f}  (server {self.server:.1f}, runs {self.runs:.1f}, readers {self.readers:.1f})"


def parts_of(stats: Iterable[str], root: int, ticks: int) -> Parts:
    """Return the processor time of a process, its reaped children, and its living descendants with theirs.

    ``stats`` are the texts of ``/proc/PID/stat``, ``ticks`` is how many of their units make a second.
    """
    parents: dict[int, int] = {}
    used: dict[int, tuple[int, int]] = {}
    for stat in stats:
        # A name may contain spaces and parentheses; state, parent and so on follow the last parenthesis.
        pid, fields = int(stat.split(maxsplit=1)[0]), stat.rpartition(")")[2].split()
        parents[pid] = int(fields[1])
        used[pid] = (sum(map(int, fields[11:13])), sum(map(int, fields[13:15])))
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    own, reaped = used.get(root, (0, 0))
    living = sum(sum(used.get(pid, (0, 0))) for pid in family - {root})
    return Parts(own / ticks, reaped / ticks, living / ticks)


def parts(pid: int) -> Parts:
    """Return the processor time so far of the process's whole tree."""
    return parts_of(_stats(), pid, os.sysconf("SC_CLK_TCK"))


def settled(pid: int) -> Parts:
    """Return the processor time of the tree once it is idle; a server first learns about its toolchains."""
    used = parts(pid)
    for _ in range(_MOST_LOOKS):
        time.sleep(_SETTLED)
        used, before = parts(pid), used
        if used.total - before.total < _IDLE:
            break
    return used


def _stats() -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield (entry / "stat").read_text(errors="replace")
            except OSError:  # the process has ended meanwhile
                continue
