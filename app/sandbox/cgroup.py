"""Control groups, where this process may make them: the kernel itself then holds memory and the number of processes.

Version 2 when a group with both controllers has been delegated to the server, version 1 when its hierarchies can be
written to (root outside of a container). Elsewhere the watcher holds these limits.
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
"""Where the server puts itself."""
_TRIES, _PAUSE = 200, 0.01
"""How often, and after how many seconds again, a group is removed that the kernel has not emptied yet."""
_CONTROLLERS = ("memory", "pids")
_DELEGATED = ("user.delegate", "trusted.delegate")
"""What systemd writes on a group that it has handed over (systemd's "Control Group APIs and Delegation")."""
_REMOVER = "remove-group"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Groups:
    """Where groups can be made: the folder for each controller, and which files hold limits and say what broke them."""

    version: int
    folders: Mapping[str, Path]

    def of(self, limits: Limits) -> "Group":
        """A group for one run, which ``hold`` makes."""
        name = f"{_PREFIX}-{os.getpid()}-{next(_numbers)}"
        return Group(self.version, limits, {key: folder / name for key, folder in self.folders.items()})


class Group:
    """The group of one run, made in a thread while the sandbox is being built.

    Moving a process into a group makes the kernel wait for all processors, 10 ms and more; until that is done the
    watcher holds the limits alone.
    """

    def __init__(self, version: int, limits: Limits, folders: Mapping[str, Path]) -> None:
        self._version = version
        self._limits = limits
        self._folders = folders
        self._thread: threading.Thread | None = None
        self._over = False

    def hold(self, pid: int) -> None:
        """Begin to put the process and all below it into the group; what they start later is born into it."""
        self._thread = threading.Thread(target=self._hold, args=(pid,), name="hold-group")
        self._thread.start()

    def broken(self) -> Limit | None:
        """The limit at which the kernel has stopped the run, or None."""
        events = "memory.events" if self._version == 2 else "memory.oom_control"
        if _count(self._folders["memory"] / events, "oom_kill"):
            return "memory"
        return "processes" if _count(self._folders["pids"] / "pids.events", "max") else None

    def remove(self) -> None:
        """Remove the group, whose processes have ended, in a thread: no verdict should wait for the kernel."""
        self._over = True
        threading.Thread(target=self._remove, name=_REMOVER).start()

    def _hold(self, pid: int) -> None:
        try:
            self._make()
            moved: set[int] = set()
            # A process that was started before its parent was moved is outside still: until none is found.
            while not self._over and (outside := set(descendants(pid)) - moved):
                for one in outside:
                    self._add(one)
                moved |= outside
        except OSError:
            _log.warning("a control group could not be made; the watcher holds the run", exc_info=True)

    def _make(self) -> None:
        for folder in set(self._folders.values()):
            folder.mkdir()
        memory = "memory.max" if self._version == 2 else "memory.limit_in_bytes"
        (self._folders["memory"] / memory).write_text(str(self._limits.memory_bytes))
        (self._folders["pids"] / "pids.max").write_text(str(self._limits.processes))
        # Without it a run that has used up its memory goes on in the machine's swap space. Not every kernel counts it.
        swap = (
            {"memory.swap.max": 0} if self._version == 2 else {"memory.memsw.limit_in_bytes": self._limits.memory_bytes}
        )
        for name, most in swap.items():
            with suppress(OSError):
                (self._folders["memory"] / name).write_text(str(most))

    def _add(self, pid: int) -> None:
        for folder in set(self._folders.values()):
            with suppress(ProcessLookupError):
                (folder / "cgroup.procs").write_text(str(pid))

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
    """Wait until the groups of all runs that have ended are gone; a server that ends would leave them."""
    for thread in threading.enumerate():
        if thread.name == _REMOVER:
            thread.join()


def find_groups() -> Groups | None:
    """Where groups can be made here, tried for real; what killed servers left is removed on the way."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    paths = {key: path for line in lines for _, keys, path in [line.split(":", 2)] for key in keys.split(",")}
    v2 = _divide(_ROOT / paths[""].lstrip("/")) if "" in paths else None
    if v2 and _works(groups := Groups(2, dict.fromkeys(_CONTROLLERS, v2))):
        return groups
    # In version 1 only root moves processes of another user, whatever the files' rights say.
    v1 = {key: _ROOT / key / paths[key].lstrip("/") for key in _CONTROLLERS if key in paths}
    if len(v1) == len(_CONTROLLERS) and os.geteuid() == 0 and _works(groups := Groups(1, v1)):
        return groups
    return None


def _divide(own: Path) -> Path | None:
    """The group of version 2 below which runs can have groups with limits, or None."""
    group = _handed_over(own)
    return group if group and _hands_on_controllers(group) else None


def _handed_over(own: Path) -> Path | None:
    """The group that is ours to divide: the server's own, or its parent where the server is in a leaf of it.

    That a group can be written to says nothing: root can write to everybody's. In the root that we see there is nobody
    but us when it is a container's, and it needs no leaf when it is the machine's.
    """
    if own.name == _LEAF:
        return own.parent
    if own == _ROOT:
        return own
    # The parent, where systemd itself has made a leaf (``DelegateSubgroup``).
    marked = (group for group in (own, own.parent) for name in _DELEGATED if _attribute(group, name) == b"1")
    return next(marked, None)


def _attribute(file: Path, name: str) -> bytes | None:
    try:
        return os.getxattr(file, name)
    except OSError:
        return None


def _hands_on_controllers(group: Path) -> bool:
    try:
        offered = (group / "cgroup.controllers").read_text().split()
    except OSError:
        return False
    if not set(_CONTROLLERS) <= set(offered):
        return False
    try:
        _hand_on(group)
    except OSError as error:
        return error.errno == errno.EBUSY and _hand_on_from_a_leaf(group)
    return True


def _hand_on_from_a_leaf(group: Path) -> bool:
    """A group that hands on controllers must have no processes itself (cgroups(7), "no internal processes")."""
    leaf = group / _LEAF
    try:
        leaf.mkdir(exist_ok=True)
        try:
            _move(group, leaf)
            _hand_on(group)
        except OSError:
            _move(leaf, group)
            leaf.rmdir()
            raise
    except OSError:
        _log.warning("the control group %s is delegated but cannot be divided", group, exc_info=True)
        return False
    return True


def _hand_on(group: Path) -> None:
    (group / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in _CONTROLLERS))


def _move(source: Path, target: Path) -> None:
    for pid in (source / "cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):
            (target / "cgroup.procs").write_text(pid)


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
    for left in folder.glob(f"{_PREFIX}-[0-9]*"):
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
