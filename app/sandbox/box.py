"""A level and a slot become the command line that runs a program inside.

``namespaces``: bubblewrap makes the file system and the namespaces, and the launcher in it sets limits and builds
Landlock and seccomp as second walls. ``landlock``: the launcher alone, which also stays to end every descendant.
``none``: the program as it is.
"""

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.runfiles import RunFolder
from app.sandbox.cgroup import Groups
from app.sandbox.limits import Limits
from app.sandbox.users import own_tasks

Level = Literal["namespaces", "landlock", "none"]

INSIDE = Path("/playground")
"""Where a run's folder lies at the level ``namespaces``."""

_INNER_LAUNCHER = "/run/launcher"
_TMP = "tmp"
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives")
_DEVICES = ("/dev/null",)
_SOURCES = ("/dev/random", "/dev/urandom")
"""Not /dev/zero, which is shared memory that nobody counts."""
_ADDRESS_SPACE = 4
"""Times the memory limit: compilers map far more than they use."""
_LATEST_LOOK = 5
"""Seconds of processor time that a process may have above the limit, until the watcher has seen it."""


@dataclass(frozen=True)
class TraceRequest:
    """That the launcher is to watch the program.

    ``report`` is the descriptor that gets what was seen. A program that needs no shared library is ended after
    ``seconds``: it is one that never ends by itself.
    """

    report: int
    seconds: float


@dataclass(frozen=True)
class Box:
    """How one run is kept: the level, the programs that keep it, its limits.

    ``user`` is the user id that the run gets where the server may give it one, else None; with ``user_first`` it has it
    before bubblewrap starts, which then needs a user namespace and no rights. ``landlock`` is the version of the
    kernel's interface, 0 for none. With ``filters`` the program may add seccomp filters of its own.
    """

    level: Level
    limits: Limits
    launcher: Path | None = None
    bwrap: Path | None = None
    landlock: int = 0
    user: int | None = None
    user_first: bool = False
    groups: Groups | None = None
    filters: bool = False

    def inside(self, root: Path) -> Path:
        """Where the run's folder ``root`` lies for its programs."""
        return INSIDE if self.level == "namespaces" else root

    def outside(self, root: Path, path: str) -> str:
        """The path on this side of what a program in the run calls ``path``."""
        above = f"{INSIDE}/"
        if self.level == "namespaces" and path.startswith(above):
            return f"{root}/{path.removeprefix(above)}"
        return path

    def own(self, root: Path) -> None:
        """Give the run's folder to the run's user, with all that belongs in it."""
        with RunFolder(root, self.user).open() as folder:
            if self.level == "namespaces":
                folder.make_folder(_TMP)
            folder.give()

    def unreadable(self, folders: Iterable[Path]) -> Path | None:
        """The first of these folders that the run's user cannot reach; None when all can be."""
        if self.user is None or (self.level == "namespaces" and not self.user_first):
            return None
        return next((folder for folder in folders if not _reachable(folder)), None)

    def command(
        self,
        argv: Sequence[str],
        root: Path,
        cwd: Path,
        readable: Sequence[Path],
        observe: TraceRequest | None = None,
        alive: int | None = None,
    ) -> list[str]:
        """The command line that runs ``argv`` in ``cwd``, a folder below ``root``, with these folders to read.

        ``alive`` is the descriptor of a pipe whose other end only the server holds: without the server the run ends.
        """
        watched = [] if observe is None else ["--observe", f"{observe.report}:{observe.seconds:g}"]
        through = [*watched, *([] if alive is None else ["--alive", f"{alive}"])]
        match self.level:
            case "namespaces":
                return [*self._bubblewrap(root, cwd, readable), *self._namespaced(argv, readable, through)]
            case "landlock":
                return self._launched(argv, root, readable, through)
            case "none":
                return [str(self.launcher), *watched, "--", *argv] if watched and self.launcher else list(argv)

    def _bubblewrap(self, root: Path, cwd: Path, readable: Sequence[Path]) -> list[str]:
        assert self.launcher
        words = [
            *self._outer_user(),
            str(self.bwrap),
            "--unshare-pid",
            "--as-pid-1",
            "--unshare-net",
            "--unshare-ipc",
            "--unshare-uts",
        ]
        words += ["--unshare-cgroup-try", "--hostname", "playground", "--die-with-parent", "--new-session"]
        if self._inner_user():
            # After the mounts the launcher becomes the run's user, and enters a user namespace of its own.
            words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        else:
            words += ["--unshare-user"]
        for path in _SYSTEM:
            words += _system(path)
        words += ["--perms", "0755", "--dir", "/etc", "--perms", "0755", "--dir", "/run"]
        for path in _ETC:
            words += ["--ro-bind-try", path, path]
        # Before the toolchain's folders, which may lie below /tmp.
        words += ["--proc", "/proc", "--dev", "/dev"]
        # A folder of the run's like the others, so that its files are counted; those of a tmpfs are not.
        words += ["--bind", str(root / _TMP), "/tmp"]  # noqa: S108 - its own, not ours
        for folder in _elsewhere(readable):
            words += [*_open_parents(folder), "--ro-bind", str(folder), str(folder)]
        words += ["--ro-bind", str(self.launcher), _INNER_LAUNCHER, "--bind", str(root), str(INSIDE)]
        # What lies around all these is memory that nobody counts.
        words += ["--remount-ro", "/dev", "--remount-ro", "/"]
        return [*words, "--chdir", str(INSIDE / cwd.relative_to(root)), "--"]

    def _namespaced(self, argv: Sequence[str], readable: Sequence[Path], through: Sequence[str]) -> list[str]:
        words = [_INNER_LAUNCHER, "--init", *through, *self._limits(), *self._seccomp(), *self._inner_user()]
        walls = self._landlock(readable, ro=("/proc",), rw=("/tmp", str(INSIDE)))  # noqa: S108 - its own
        return [*words, *walls, "--", *argv]

    def _outer_user(self) -> list[str]:
        if self.user is None or not self.user_first:
            return []
        return [str(self.launcher), "--pass", "--user", f"{self.user}:{self.user}", "--"]

    def _inner_user(self) -> list[str]:
        return [] if self.user is None or self.user_first else ["--user", f"{self.user}:{self.user}", "--userns"]

    def _launched(self, argv: Sequence[str], root: Path, readable: Sequence[Path], through: Sequence[str]) -> list[str]:
        words = [str(self.launcher), "--reap", *through, *self._limits(), *self._seccomp()]
        words += [] if self.user is None else ["--user", f"{self.user}:{self.user}"]
        return [*words, *self._landlock(readable, ro=(), rw=(str(root),)), "--", *argv]

    def _limits(self) -> list[str]:
        most = self.limits
        values = {
            # The watcher counts the sum over all processes; these stop a single one that it has not yet seen. Of
            # processor time later, because only the watcher knows why the run ended, and on a busy machine it is late.
            "cpu": int(most.cpu_seconds) + _LATEST_LOOK,
            "fsize": most.file_size_bytes,
            "as": most.memory_bytes * _ADDRESS_SPACE,
            "nofile": most.open_files,
        }
        if self.level == "namespaces" or self.user is not None:
            # Counted for each user, or for each user namespace: only where that is the run's own.
            values["nproc"] = most.processes
        else:
            # Everything of the server's user counts: room for this run and another, and none for a fork bomb.
            values["nproc"] = own_tasks() + 2 * most.processes
        return [word for name, value in values.items() for word in ("--limit", f"{name}={value}")]

    def _seccomp(self) -> list[str]:
        return ["--seccomp", "--filters"] if self.filters else ["--seccomp"]

    def _landlock(self, readable: Sequence[Path], ro: Sequence[str], rw: Sequence[str]) -> list[str]:
        if not self.landlock:
            return []
        words = ["--landlock", str(self.landlock)]
        for path in (*_SYSTEM, *_ETC, *_SOURCES, *map(str, _elsewhere(readable)), *ro):
            words += ["--ro", path]
        for path in rw:
            words += ["--rw", path]
        for path in _DEVICES:
            words += ["--dev", path]
        return words


def _system(path: str) -> list[str]:
    if os.path.islink(path):
        return ["--symlink", os.readlink(path), path]
    return ["--ro-bind-try", path, path]


def _open_parents(folder: Path) -> list[str]:
    """Empty folders above a bound one, which bubblewrap would otherwise close as the real ones are, such as /root."""
    parents = list(folder.parents)[-2::-1]
    return [word for parent in parents for word in ("--perms", "0755", "--dir", str(parent))]


def _elsewhere(folders: Iterable[Path]) -> list[Path]:
    """The folders that do not lie in the system's own; never the root of all."""
    system = [Path(path) for path in _SYSTEM]
    return [
        folder
        for folder in dict.fromkeys(folders)
        if folder != Path("/") and not any(folder.is_relative_to(path) for path in system)
    ]


def _reachable(folder: Path) -> bool:
    try:
        return all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents))
    except OSError:
        return False
