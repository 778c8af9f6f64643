"""Control groups, where this process may make them: the kernel itself then holds memory and the number of processes.

Version 2 when a group with both controllers has been delegated to the server, version 1 when its hierarchies can be
written to (root outside of a container). Elsewhere the watcher holds these limits.
"""

import itertools
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.events import Limit
from app.sandbox.limits import Limits

_ROOT = Path("/sys/fs/cgroup")
_PREFIX = "playground"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Groups:
    """Where groups can be made: the folder for each controller, and which files hold limits and say what broke them."""

    version: int
    folders: Mapping[str, Path]

    def make(self, limits: Limits) -> "Group":
        """An empty group with the limits of one run; raises ``OSError`` when the kernel refuses."""
        name = f"{_PREFIX}-{os.getpid()}-{next(_numbers)}"
        group = Group(self.version, {key: folder / name for key, folder in self.folders.items()})
        for folder in set(group.folders.values()):
            folder.mkdir()
        memory = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
        (group.folders["memory"] / memory).write_text(str(limits.memory_bytes))
        (group.folders["pids"] / "pids.max").write_text(str(limits.processes))
        if self.version == 2:
            with suppress(OSError):
                (group.folders["memory"] / "memory.swap.max").write_text("0")
        return group


@dataclass(frozen=True)
class Group:
    """The group of one run."""

    version: int
    folders: Mapping[str, Path]

    def add(self, pid: int) -> None:
        """Put a process, and with it all that it will start, into the group; raises ``OSError``."""
        for folder in set(self.folders.values()):
            (folder / "cgroup.procs").write_text(str(pid))

    def broken(self) -> Limit | None:
        """The limit at which the kernel has stopped the run, or None."""
        events = "memory.events" if self.version == 2 else "memory.oom_control"
        if _count(self.folders["memory"] / events, "oom_kill"):
            return "memory"
        return "processes" if _count(self.folders["pids"] / "pids.events", "max") else None

    def remove(self) -> None:
        """Remove the group, whose processes have ended; the kernel may need a moment to notice."""
        for folder in set(self.folders.values()):
            for _ in range(50):
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.01)
                else:
                    break


def find_groups() -> Groups | None:
    """Where groups can be made here, tried for real; what killed servers left is removed on the way."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    paths = {key: path for line in lines for _, keys, path in [line.split(":", 2)] for key in keys.split(",")}
    v1: dict[str, Path] = {key: _ROOT / key / paths[key].lstrip("/") for key in ("memory", "pids") if key in paths}
    v2 = _ROOT / paths.get("", "/").lstrip("/")
    for groups in (Groups(2, {"memory": v2, "pids": v2}), Groups(1, v1)):
        if len(groups.folders) == 2 and _works(groups):
            return groups
    return None


def _works(groups: Groups) -> bool:
    for folder in set(groups.folders.values()):
        _remove_abandoned(folder)
    name = f"{_PREFIX}-{os.getpid()}-trial"
    made = []
    try:
        for key, folder in groups.folders.items():
            trial = folder / name
            if trial not in made:
                trial.mkdir()
                made.append(trial)
            needed = "pids.max" if key == "pids" else "memory.max" if groups.version == 2 else "memory.limit_in_bytes"
            if not os.access(trial / needed, os.W_OK):
                return False
    except OSError:
        return False
    finally:
        for trial in made:
            trial.rmdir()
    return True


def _remove_abandoned(folder: Path) -> None:
    for left in folder.glob(f"{_PREFIX}-*"):
        owner = left.name.split("-")[1]
        if not Path(f"/proc/{owner}").exists():
            with suppress(OSError):
                left.rmdir()


def _count(file: Path, name: str) -> int:
    try:
        rows = (line.split() for line in file.read_text().splitlines())
        return next((int(row[1]) for row in rows if len(row) == 2 and row[0] == name), 0)
    except (OSError, ValueError):
        return 0
