"""Control groups, with which the kernel itself limits the memory and number of processes of a run.

Version 2 is used if a group with both controllers was delegated to the server, version 1 if its hierarchies are
writable (for root outside a container). Elsewhere only the watcher enforces these limits.
"""

import errno
import itertools
import logging
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.protocol.events import Limit
from app.sandbox.limits import Limits
from app.sandbox.watch import descendants

_log = logging.getLogger(__name__)
_ROOT = Path("/sys/fs/cgroup")
_PREFIX = "playground"
_LEAF = f"{_PREFIX}-server"
"""The group into which the server moves itself."""
_TRIES, _PAUSE = 200, 0.01
"""The number of attempts to remove a group that the kernel has not emptied yet, and the seconds between them."""
_CONTROLLERS = ("memory", "pids")
_DELEGATED = ("user.delegate", "trusted.delegate")
"""The attributes with which systemd marks a delegated group (systemd's "Control Group APIs and Delegation")."""
_REMOVER = "remove-group"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Groups:
    """The folders, one per controller, in which groups can be made, and the version of their interface."""

    version: int
    folders: Mapping[str, Path]

    def of(self, limits: Limits) -> "Group":
        """Return a group for one run. ``hold`` creates it."""
        name = f"{_PREFIX}-{os.getpid()}-{next(_numbers)}"
        return Group(self.version, limits, {key: folder / name for key, folder in self.folders.items()})


class Group:
    """The group of one run, created in a thread while the sandbox is being set up.

    Moving a process into a group takes 10 ms or more, because the kernel waits for all processors. Until then, only
    the watcher enforces the limits.
    """

    def __init__(self, version: int, limits: Limits, folders: Mapping[str, Path]) -> None:
        self._version = version
        self._limits = limits
        self._folders = folders
        self._thread: threading.Thread | None = None
        self._over = False

    def hold(self, pid: int) -> None:
        """Start to move the process and its descendants into the group. Their later children start in it."""
        self._thread = threading.Thread(target=self._hold, args=(pid,), name="hold-group")
        self._thread.start()

    def broken(self) -> Limit | None:
        """Return the limit that the kernel has enforced, or None."""
        events = "memory.events" if self._version == 2 else "memory.oom_control"
        if _count(self._folders["memory"] / events, "oom_kill"):
            return "memory"
        return "processes" if _count(self._folders["pids"] / "pids.events", "max") else None

    def remove(self) -> None:
        """Remove the group of an ended run in a thread, so that the verdict does not wait for the kernel."""
        self._over = True
        threading.Thread(target=self._remove, name=_REMOVER).start()

    def _hold(self, pid: int) -> None:
        try:
            self._create()
            moved: set[int] = set()
            # A process that was started before its parent was moved is still outside, so repeat until none is found.
            while not self._over and (outside := set(descendants(pid)) - moved):
                for one in outside:
                    for folder in set(self._folders.values()):
                        with suppress(ProcessLookupError):
                            (folder / "cgroup.procs").write_text(str(one))
                moved |= outside
        except OSError:
            _log.warning("a control group could not be made; only the watcher limits the run", exc_info=True)

    def _create(self) -> None:
        for folder in set(self._folders.values()):
            folder.mkdir()
        memory = "memory.max" if self._version == 2 else "memory.limit_in_bytes"
        (self._folders["memory"] / memory).write_text(str(self._limits.memory_bytes))
        (self._folders["pids"] / "pids.max").write_text(str(self._limits.processes))
        # Without a limit, a run could continue in the machine's swap space. Not every kernel counts swap.
        swap = (
            {"memory.swap.max": 0} if self._version == 2 else {"memory.memsw.limit_in_bytes": self._limits.memory_bytes}
        )
        for name, most in swap.items():
            with suppress(OSError):
                (self._folders["memory"] / name).write_text(str(most))

    def _remove(self) -> None:
        if self._thread:
            self._thread.join()
        for folder in set(self._folders.values()):
            for _ in range(_TRIES):
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(_PAUSE)
                else:
                    break


def settle() -> None:
    """Wait until the groups of all ended runs are removed, because a server that ends now would leave them."""
    for thread in threading.enumerate():
        if thread.name == _REMOVER:
            thread.join()


def find_groups() -> Groups | None:
    """Find the folders in which groups can be made, by a trial. Removes groups that killed servers left behind."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    paths = {key: path for line in lines for _, keys, path in [line.split(":", 2)] for key in keys.split(",")}
    v2 = _divide(_ROOT / paths[""].lstrip("/")) if "" in paths else None
    if v2 and _works(groups := Groups(2, dict.fromkeys(_CONTROLLERS, v2))):
        return groups
    # In version 1 only root may move processes of another user, whatever the files' modes say.
    v1 = {key: _ROOT / key / paths[key].lstrip("/") for key in _CONTROLLERS if key in paths}
    if len(v1) == len(_CONTROLLERS) and os.geteuid() == 0 and _works(groups := Groups(1, v1)):
        return groups
    return None


def _divide(own: Path) -> Path | None:
    """Return the delegated group of version 2 with its controllers enabled for subgroups, or None."""
    group = _delegated(own)
    return group if group and _enable_controllers(group) else None


def _delegated(own: Path) -> Path | None:
    """Return the group that was delegated to the server: its own, or the parent if the server is in a leaf of it.

    Write access does not show that, because root can write to every group. The visible root counts as delegated: in a
    container it contains nothing else, and the machine's real root may have processes and subgroups.
    """
    if own.name == _LEAF:
        return own.parent
    if own == _ROOT:
        return own
    # With DelegateSubgroup, systemd has put the server into a leaf, and the mark is on the parent.
    for group in (own, own.parent):
        for name in _DELEGATED:
            with suppress(OSError):
                if os.getxattr(group, name) == b"1":
                    return group
    return None


def _enable_controllers(group: Path) -> bool:
    """Enable the controllers for subgroups of the group; return True if that worked."""
    try:
        offered = (group / "cgroup.controllers").read_text().split()
    except OSError:
        return False
    if not set(_CONTROLLERS) <= set(offered):
        return False
    try:
        _write_controllers(group)
    except OSError as error:
        return error.errno == errno.EBUSY and _enable_controllers_from_leaf(group)
    return True


def _enable_controllers_from_leaf(group: Path) -> bool:
    """Move the server into a leaf first.

    A group that enables controllers for subgroups must not have processes (cgroups(7), "no internal processes").
    """
    leaf = group / _LEAF
    try:
        leaf.mkdir(exist_ok=True)
        try:
            _move(group, leaf)
            _write_controllers(group)
        except OSError:
            _move(leaf, group)
            leaf.rmdir()
            raise
    except OSError:
        _log.warning("the control group %s is delegated, but its controllers cannot be enabled", group, exc_info=True)
        return False
    return True


def _write_controllers(group: Path) -> None:
    (group / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in _CONTROLLERS))


def _move(source: Path, target: Path) -> None:
    for pid in (source / "cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):
            (target / "cgroup.procs").write_text(pid)


def _works(groups: Groups) -> bool:
    """Return True if a trial group can be made. Removes the groups of killed servers first."""
    for leftover in (each for folder in set(groups.folders.values()) for each in folder.glob(f"{_PREFIX}-[0-9]*")):
        owner = leftover.name.split("-")[1]
        if not Path(f"/proc/{owner}").exists():
            with suppress(OSError):
                leftover.rmdir()
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


def _count(file: Path, name: str) -> int:
    try:
        rows = (line.split() for line in file.read_text().splitlines())
        return next((int(row[1]) for row in rows if len(row) == 2 and row[0] == name), 0)
    except (OSError, ValueError):
        return 0
