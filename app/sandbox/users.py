"""User ids for run slots, of which no two servers on a machine use the same one.

At the end of a run all processes of its user are killed, so with a shared id one server would end another's runs. The
server need not be root to change user ids: in a container it is a normal user with the capabilities in ``NEEDED``.
"""

import ctypes
import fcntl
import os
import platform
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

FIRST, LAST = 60706, 61183
"""A range of ids that neither distributions nor systemd assign (systemd's "Users, Groups, UIDs and GIDs").

From 61184 on, systemd gives them to services with DynamicUser, whose processes would be killed as a run's.
"""

NEEDED = {"chown": 0, "dac_override": 1, "fowner": 3, "kill": 5, "setgid": 6, "setuid": 7}
"""The capabilities that are needed to run processes as other users, with their numbers."""

_SHARED_LOCKS = Path("/run/freestanding-playground")
_SETRESUID = {"x86_64": 117, "aarch64": 147}
_SETRESGID = {"x86_64": 119, "aarch64": 149}
_SAME = -1
_SYS_PTRACE, _SYS_ADMIN = 19, 21


def may_give() -> bool:
    """Return True if this process may start runs as other users, read their files and end them."""
    return _has(*NEEDED.values())


def may_look() -> bool:
    """Return True if this process may inspect the open files of any user's processes."""
    return _has(_SYS_PTRACE)


def may_mount() -> bool:
    """Return True if this process may create namespaces and mounts without a user namespace."""
    return _has(_SYS_ADMIN)


def own_tasks() -> int:
    """Return the number of visible processes and threads of the server's user."""
    own, count = os.getuid(), 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if os.stat(f"/proc/{name}").st_uid == own:
                count += len(os.listdir(f"/proc/{name}/task"))
    return count


@cache
def _has(*numbers: int) -> bool:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return False
    held = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    return all(held >> number & 1 for number in numbers)


def locks_in(scratch_dir: Path) -> Path:
    """Return the folder for locks on user ids: one for the whole machine if root, else one beside the runs."""
    return _SHARED_LOCKS if os.geteuid() == 0 and os.access("/run", os.W_OK) else scratch_dir / "users"


@contextmanager
def claimed(count: int, locks: Path) -> Iterator[tuple[int, ...]]:
    """Claim ``count`` user ids until the end of the context. Raises ``OSError`` if too few are free.

    The search begins at a random id: containers do not share locks, but the kernel counts a user's processes across
    them.
    """
    locks.mkdir(mode=0o700, parents=True, exist_ok=True)
    held: dict[int, int] = {}
    start = random.randrange(LAST - FIRST)  # noqa: S311 - the start is not secret
    try:
        for step in range(LAST - FIRST + 1):
            if len(held) == count:
                break
            uid = FIRST + (start + step) % (LAST - FIRST + 1)
            handle = os.open(locks / f"user-{uid}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                continue
            held[uid] = handle
        if len(held) < count:
            raise OSError(f"fewer than {count} user ids from {FIRST} to {LAST} are free")
        yield tuple(held)
    finally:
        for handle in held.values():
            os.close(handle)


@contextmanager
def acting_as(user: int | None) -> Iterator[None]:
    """Inspect a run's processes and files as its own user. Changes only the calling thread, which must not await.

    In a container not even root may inspect the open files of other users' processes, which needs a capability that
    containers do not have.
    """
    machine = platform.machine()
    if user is None or machine not in _SETRESUID:
        yield
        return
    own_user, own_group = os.geteuid(), os.getegid()
    _call(_SETRESGID[machine], user)
    _call(_SETRESUID[machine], user)
    try:
        yield
    finally:
        _call(_SETRESUID[machine], own_user)
        _call(_SETRESGID[machine], own_group)


def _call(number: int, effective: int) -> None:
    # os.seteuid would change every thread of the server: the C library synchronizes them.
    if _libc().syscall(number, _SAME, effective, _SAME) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
