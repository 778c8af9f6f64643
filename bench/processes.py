"""The processor time and the memory of a server and of every process that it has started, from /proc."""

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
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
    for pid, fields in map(_fields, stats):
        parents[pid] = int(fields[1])
        used[pid] = (sum(map(int, fields[11:13])), sum(map(int, fields[13:15])))
    own, reaped = used.get(root, (0, 0))
    living = sum(sum(used.get(pid, (0, 0))) for pid in _family(parents, root) - {root})
    return Parts(own / ticks, reaped / ticks, living / ticks)


@dataclass(frozen=True)
class Memory:
    """MiB: those resident in the server's own process, and the shares of the server and of its descendants.

    A share counts each page that several processes map only in part (``Pss`` in proc_pid_smaps(5)), so shares can be
    added. Forked readers have most of their pages in common.
    """

    resident: float
    server: float
    others: float

    def line(self) -> str:
        """The memory as it is printed."""
        return (
            f"{self.resident:.0f} MiB resident, {self.server:.0f} MiB as its share; its readers {self.others:.0f} MiB"
        )


def memory(pid: int) -> Memory:
    """Return the memory of the process and of its descendants."""
    parents = {each: int(fields[1]) for each, fields in map(_fields, _stats())}
    own = _rollup(pid)
    others = [_rollup(each).get("Pss", 0) for each in _family(parents, pid) - {pid}]
    return Memory(own["Rss"] / 1024, own["Pss"] / 1024, sum(others) / 1024)


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


def _fields(stat: str) -> tuple[int, list[str]]:
    """Return the process id, and the fields from the state on."""
    # A name may contain spaces and parentheses; state, parent and so on follow the last parenthesis.
    return int(stat.split(maxsplit=1)[0]), stat.rpartition(")")[2].split()


def _family(parents: Mapping[int, int], root: int) -> set[int]:
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return family


def _rollup(pid: int) -> dict[str, int]:
    """Return the sums over a process's mappings, in KiB, which the kernel calls kB; nothing if it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return {}
    return {name: int(size) for name, size in re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE)}


def _stats() -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield (entry / "stat").read_text(errors="replace")
            except OSError:  # the process has ended meanwhile
                continue
