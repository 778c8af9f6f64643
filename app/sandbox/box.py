"""Build the command line that runs a program at an isolation level.

``namespaces``: bubblewrap sets up the file system and the namespaces; in them the launcher sets resource limits and
adds Landlock and seccomp as a second line of defence. ``landlock``: the launcher does that alone, and stays to end
every descendant. ``none``: the program runs unconfined.
"""

import os
import resource
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from app.runfiles import RunFolder
from app.sandbox.cgroup import Groups
from app.sandbox.limits import Limits
from app.sandbox.users import own_tasks

Level = Literal["namespaces", "landlock", "none"]

INSIDE = Path("/playground")
"""The run's folder as its programs see it at the level ``namespaces``."""

_INNER_LAUNCHER = "/run/launcher"
_TMP = "tmp"
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives")
_DEVICES = ("/dev/null",)
_RANDOM = ("/dev/random", "/dev/urandom")
"""Readable devices. Not /dev/zero, because a shared mapping of it is memory that the watcher cannot count."""
_ADDRESS_SPACE = 4
"""The limit for address space as a multiple of the memory limit. Compilers map far more memory than they use."""
_CPU_MARGIN_SECONDS = 5
"""Processor time above the limit that a process can use until the watcher notices."""


@dataclass(frozen=True)
class TraceRequest:
    """A request to the launcher to trace the program.

    The launcher writes its report to the descriptor ``report``. A program without shared libraries is ended after
    ``seconds``, because it usually never ends by itself.
    """

    report: int
    seconds: float


@dataclass(frozen=True)
class Box:
    """The isolation of one run: the level, the programs that enforce it, and the limits.

    ``user`` is the run's user id, or None if the server cannot change it. If ``user_first`` is True, the process takes
    this id before bubblewrap starts, so bubblewrap uses a user namespace and needs no rights. ``landlock`` is the
    version of the kernel's Landlock interface, 0 for none. With ``filters`` the program may install seccomp filters.
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
        """Return the path of the run's folder ``root`` as its programs see it."""
        return INSIDE if self.level == "namespaces" else root

    def outside(self, root: Path, path: str) -> str:
        """Return the server's path for the path that a program in the run uses."""
        above = f"{INSIDE}/"
        if self.level == "namespaces" and path.startswith(above):
            return f"{root}/{path.removeprefix(above)}"
        return path

    def own(self, root: Path) -> None:
        """Give the run's folder and its content to the run's user."""
        with RunFolder(root, self.user).open() as folder:
            if self.level == "namespaces":
                folder.make_folder(_TMP)
            folder.give()

    def unreadable(self, folders: Iterable[Path]) -> Path | None:
        """Return the first of these folders that the run's user cannot enter, or None."""
        if self.user is None or (self.level == "namespaces" and not self.user_first):
            return None
        return next((folder for folder in folders if not _open_to_all(folder)), None)

    def command(
        self,
        argv: Sequence[str],
        root: Path,
        cwd: Path,
        readable: Sequence[Path],
        observe: TraceRequest | None = None,
        alive: int | None = None,
        park: int | None = None,
    ) -> list[str]:
        """Return the command line that runs ``argv`` in ``cwd``, a folder below ``root``, with ``readable`` folders.

        ``alive`` is the descriptor of a pipe whose other end only the server holds. When it hangs up, the run ends.
        ``park`` is the descriptor of a pipe from which the launcher takes ``argv`` later; at the level ``none``, no
        launcher is there to do so.
        """
        watched = [] if observe is None else ["--observe", f"{observe.report}:{observe.seconds:g}"]
        through = [*watched, *([] if alive is None else ["--alive", f"{alive}"])]
        through += [] if park is None else ["--park", f"{park}"]
        if self.level == "none":
            return [str(self.launcher), *watched, "--", *argv] if watched and self.launcher else list(argv)
        limits = [*self._limits(), "--seccomp", *(["--filters"] if self.filters else [])]
        user = [] if self.user is None else ["--user", f"{self.user}:{self.user}"]
        if self.level == "landlock":
            walls = self._landlock(readable, ro=(), rw=(str(root),))
            return [str(self.launcher), "--reap", *through, *limits, *user, *walls, "--", *argv]
        before = [str(self.launcher), "--pass", *user, "--"] if user and self.user_first else []
        inside = [*user, "--userns"] if user and not self.user_first else []
        walls = self._landlock(readable, ro=("/proc",), rw=("/tmp", str(INSIDE)))  # noqa: S108 - the run's own
        launcher = [_INNER_LAUNCHER, "--init", *through, *limits, *inside, *walls, "--", *argv]
        return [*before, *self._bubblewrap(root, cwd, readable, user_inside=bool(inside)), *launcher]

    def _bubblewrap(self, root: Path, cwd: Path, readable: Sequence[Path], *, user_inside: bool) -> list[str]:
        assert self.launcher
        words = [str(self.bwrap), "--unshare-pid", "--as-pid-1", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
        # Not --die-with-parent: a server that died just before bubblewrap lets its child go on would leave that child
        # waiting for ever. The launcher notices the server's death by itself, and bubblewrap ends with the launcher.
        words += ["--unshare-cgroup-try", "--hostname", "playground", "--new-session"]
        if user_inside:
            # After the mounts, the launcher changes to the run's user and enters a new user namespace.
            words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        else:
            words += ["--unshare-user"]
        for path in _SYSTEM:
            words += ["--symlink", os.readlink(path), path] if os.path.islink(path) else ["--ro-bind-try", path, path]
        words += ["--perms", "0755", "--dir", "/etc", "--perms", "0755", "--dir", "/run"]
        for path in _ETC:
            words += ["--ro-bind-try", path, path]
        # Before the toolchain's folders, which may be below /tmp.
        words += ["--proc", "/proc", "--dev", "/dev"]
        # A subfolder of the run's folder, because the watcher cannot count the files of a tmpfs.
        words += ["--bind", str(root / _TMP), "/tmp"]  # noqa: S108 - the path in the namespace
        for folder in _outside_system(tuple(readable)):
            words += [*_open_parents(folder), "--ro-bind", str(folder), str(folder)]
        words += ["--ro-bind", str(self.launcher), _INNER_LAUNCHER, "--bind", str(root), str(INSIDE)]
        # Everything else is in a tmpfs, whose memory the watcher cannot count.
        words += ["--remount-ro", "/dev", "--remount-ro", "/"]
        return [*words, "--chdir", str(INSIDE / cwd.relative_to(root)), "--"]

    def _limits(self) -> list[str]:
        most = self.limits
        values = {
            # The watcher counts the sum over all processes; these limits stop a single process that it has not seen
            # yet. The one for processor time is higher, so that the watcher, which reports the reason, comes first.
            "cpu": int(most.cpu_seconds) + _CPU_MARGIN_SECONDS,
            "fsize": most.file_size_bytes,
            "as": most.memory_bytes * _ADDRESS_SPACE,
            "nofile": most.open_files,
        }
        if self.level == "namespaces" or self.user is not None:
            # The kernel counts per user and user namespace, and here that is the run's own.
            values["nproc"] = most.processes
        else:
            # All processes of the server's user count. This leaves room for two runs and stops a fork bomb.
            values["nproc"] = own_tasks() + 2 * most.processes
        return [word for name, value in values.items() for word in ("--limit", f"{name}={_allowed(name, value)}")]

    def _landlock(self, readable: Sequence[Path], ro: Sequence[str], rw: Sequence[str]) -> list[str]:
        if not self.landlock:
            return []
        words = ["--landlock", str(self.landlock)]
        for path in (*_SYSTEM, *_ETC, *_RANDOM, *map(str, _outside_system(tuple(readable))), *ro):
            words += ["--ro", path]
        for path in rw:
            words += ["--rw", path]
        for path in _DEVICES:
            words += ["--dev", path]
        return words


def _allowed(name: str, value: int) -> int:
    """Return a limit, or the system's own if that is lower. No program could be started with a higher one."""
    _, most = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))
    return value if most == resource.RLIM_INFINITY else min(value, most)


def _open_parents(folder: Path) -> list[str]:
    """Return words that make a bound folder's parents readable; bubblewrap would copy the modes of, say, /root."""
    parents = list(folder.parents)[-2::-1]
    return [word for parent in parents for word in ("--perms", "0755", "--dir", str(parent))]


@cache
def _outside_system(folders: tuple[Path, ...]) -> list[Path]:
    """Return the folders outside the system's own, without duplicates and without ``/``."""
    system = [Path(path) for path in _SYSTEM]
    return [
        folder
        for folder in dict.fromkeys(folders)
        if folder != Path("/") and not any(folder.is_relative_to(path) for path in system)
    ]


def _open_to_all(folder: Path) -> bool:
    try:
        return all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents))
    except OSError:
        return False
