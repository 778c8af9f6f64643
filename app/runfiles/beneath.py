"""Open files below a folder by descriptors, without following any link.

``openat2`` (Linux 5.6) resolves a whole path in one call. Where the kernel or a seccomp filter refuses it, each
component is opened on its own.
"""

import ctypes
import errno
import os
from functools import cache

DEEPEST = 64
"""Components that a path below a run's folder may have. Cargo needs about ten."""

OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})
"""Errors of the machine, which say nothing about the run's files."""

ONLY_NAME = getattr(os, "O_PATH", os.O_RDONLY)
"""Open without reading. macOS, where runs are not isolated, has no such flag."""
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
HANDLE = ONLY_NAME | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_LONGEST_PATH = 4096
_OPENAT2 = 437
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08


class _How(ctypes.Structure):
    """The kernel's ``open_how``."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def parts_of(path: str) -> tuple[str, ...]:
    """Return the components of a path below a run's folder.

    Raises ``OSError`` for a path that leaves the folder, is invalid, too long or too deep.
    """
    try:
        size = len(os.fsencode(path))
    except UnicodeEncodeError as error:
        raise OSError(errno.EINVAL, "not valid in a path") from error
    parts = tuple(path.split("/", DEEPEST + 1))
    if size >= _LONGEST_PATH or len(parts) > DEEPEST:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    if "\0" in path or not all(part and part not in (".", "..") for part in parts):
        raise OSError(errno.EINVAL, "not a path below the folder")
    return parts


def open_beneath(folder: int, path: str, flags: int) -> int:
    """Return a descriptor of ``path`` below ``folder``; ``""`` is the folder itself.

    Raises ``OSError``, also if a component of the path is a link.
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC
    if not path:
        return os.open(".", flags, dir_fd=folder)
    parts = parts_of(path)
    return _openat2(folder, path, flags) if HAS_OPENAT2 else _open_step_by_step(folder, parts, flags)


def _open_step_by_step(folder: int, parts: tuple[str, ...], flags: int) -> int:
    handle = os.dup(folder)
    try:
        for part in parts[:-1]:
            following = os.open(part, HANDLE, dir_fd=handle)
            os.close(handle)
            handle = following
        return os.open(parts[-1], flags, dir_fd=handle)
    finally:
        os.close(handle)


def _openat2(folder: int, path: str, flags: int) -> int:
    how = _How(flags, 0, _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS)
    size = ctypes.c_size_t(ctypes.sizeof(how))
    found: int = _libc().syscall(_OPENAT2, folder, os.fsencode(path), ctypes.byref(how), size)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _has_openat2() -> bool:
    if os.uname().sysname != "Linux":
        return False
    try:
        root = os.open("/", HANDLE)
    except OSError:
        return False
    try:
        os.close(_openat2(root, "proc", HANDLE))
    except OSError:
        return False
    finally:
        os.close(root)
    return True


HAS_OPENAT2 = _has_openat2()
