"""User ids for run slots, where the server may give them: no two servers on a machine use the same one.

The end of a run kills whatever its user still runs, so a shared id would let one server end another's runs. The server
need not be root for it: in a container it is a normal user that keeps ``NEEDED`` of root's capabilities.
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

FIRST, LAST = 61000, 61999
"""Ids that distributions give to nobody."""

NEEDED = {"chown": 0, "dac_override": 1, "fowner": 3, "kill": 5, "setgid": 6, "setuid": 7}
"""The capabilities that giving runs a user of their own takes, by their numbers."""

_SHARED_LOCKS = Path("/run/freestanding-playground")
_SETRESUID = {"x86_64": 117, "aarch64": 147}
_SETRESGID = {"x86_64": 119, "aarch64": 149}
_SAME = -1


_SYS_PTRACE, _SYS_ADMIN = 19, 21


def may_give() -> bool:
    """Whether this process may start runs as other users, and read and end what is theirs."""
    return _has(*NEEDED.values())


def may_look() -> bool:
    """Whether this process may look at what the processes of any user have open."""
    return _has(_SYS_PTRACE)


def may_mount() -> bool:
    """Whether this process may make namespaces and mounts without a user namespace."""
    return _has(_SYS_ADMIN)


def own_tasks() -> int:
    """How many processes and threads the server's user has at this moment, as far as they can be seen."""
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
    """Where ids are claimed: for root one place for the whole machine, else beside the runs."""
    return _SHARED_LOCKS if os.geteuid() == 0 and os.access("/run", os.W_OK) else scratch_dir / "users"


@contextmanager
def claimed(count: int, locks: Path) -> Iterator[tuple[int, ...]]:
    """That many user ids, held until the end of the context; raises ``OSError`` when there are not as many.

    The search begins anywhere: containers share the kernel's count of a user's processes, and see no common locks.
    """
    locks.mkdir(mode=0o700, parents=True, exist_ok=True)
    held: dict[int, int] = {}
    start = random.randrange(LAST - FIRST)  # noqa: S311 - nothing is secret about it
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
            raise OSError(f"there are not {count} free user ids from {FIRST} to {LAST}")
        yield tuple(held)
    finally:
        for handle in held.values():
            os.close(handle)


@contextmanager
def acting_as(user: int | None) -> Iterator[None]:
    """Look at a run's processes and files as its own user; the calling thread alone, which must not await meanwhile.

    In a container not even root may look at what the processes of others have open: that takes a capability which
    containers do not have, or their user.
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
    # Not os.seteuid: the C library would change every thread of the server.
    if _libc().syscall(number, _SAME, effective, _SAME) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
