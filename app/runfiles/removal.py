"""Delete a folder in any state in which a run may leave it: unreadable, deeply nested, or full of files.

``python -I -S -B removal.py DESCRIPTOR`` does that in a separate process with few descriptors. At most two folders are
open at a time, however deep they are nested: subfolders are moved up to the top before their folder is deleted, so no
path and no recursion is needed. Links are never followed, and only modes of opened folders are changed.
"""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from itertools import count, islice
from pathlib import Path

SMALL = 3000
"""Entries that are deleted in the server's process, which takes a thread about 30 ms. A build has about 60."""

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HANDLE = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LISTED = 1000
_SECONDS = 30.0
_DESCRIPTORS = 64


def remove(path: Path, most: int = SMALL) -> bool:
    """Delete the folder if it has at most about ``most`` entries. Return True if it is gone. Never raises."""
    try:
        top = _open_writable(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    try:
        empty(top, most)
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    finally:
        os.close(top)
    return True


def remove_apart(path: Path) -> bool:
    """Delete the folder in a separate process. Return True if it is gone. Never raises."""
    with suppress(OSError, subprocess.SubprocessError):
        top = _open_writable(path)
        try:
            command = [sys.executable, "-I", "-S", "-B", __file__, str(top)]
            subprocess.run(command, pass_fds=(top,), env={}, stdin=subprocess.DEVNULL, check=False, timeout=_SECONDS)
        finally:
            os.close(top)
    return remove(path)


def empty(top: int, most: int = sys.maxsize) -> None:
    """Delete everything below the open folder, until nothing more can be deleted or ``most`` steps were taken.

    Raises ``OSError``.
    """
    with closing(_removal_steps(top)) as steps:
        for _ in islice(steps, most):
            pass


def _removal_steps(top: int) -> Generator[None]:
    """Delete one entry a step. End when a pass over the top changes nothing."""
    mark = os.urandom(8).hex()
    fresh = (f"{mark}-{number}" for number in count())
    changed = True
    while changed:
        changed = False
        for name, is_folder in _list(top):
            if not is_folder:
                changed |= _succeeds(os.unlink, name, dir_fd=top)
                yield
                continue
            try:
                folder = _open_writable(name, top)
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    raise
                yield
                continue
            try:
                for below, is_below in _list(folder):
                    if is_below:
                        changed |= _move_up(below, folder, next(fresh), top)
                    else:
                        changed |= _succeeds(os.unlink, below, dir_fd=folder)
                    yield
            finally:
                os.close(folder)
            changed |= _succeeds(os.rmdir, name, dir_fd=top)
            yield


def _move_up(name: str, folder: int, new_name: str, top: int) -> bool:
    """Move a subfolder to the top; return True if that worked."""
    if _succeeds(os.rename, name, new_name, src_dir_fd=folder, dst_dir_fd=top):
        return True
    # Moving a folder changes its ``..``, so it must be writable; opening it makes it so.
    with suppress(OSError):
        os.close(_open_writable(name, folder))
    return _succeeds(os.rename, name, new_name, src_dir_fd=folder, dst_dir_fd=top)


def _succeeds(change: Callable[..., None], *names: str, **folders: int) -> bool:
    """Make the change; return True if it raised no ``OSError``."""
    try:
        change(*names, **folders)
    except OSError:
        return False
    return True


def _list(folder: int) -> list[tuple[str, bool]]:
    """Return the next names in a folder, each with True if it is a folder."""
    with os.scandir(folder) as found:
        return [(one.name, one.is_dir(follow_symlinks=False)) for one in islice(found, _LISTED)]


def _open_writable(name: str | Path, within: int | None = None) -> int:
    """Open a folder after making it readable and writable; return its descriptor. Raises ``OSError``."""
    try:
        folder = os.open(name, _OPEN, dir_fd=within)
    except PermissionError:
        handle = os.open(name, _HANDLE, dir_fd=within)
        try:
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
            folder = os.open(".", _OPEN, dir_fd=handle)
        finally:
            os.close(handle)
    if os.fstat(folder).st_mode & 0o700 != 0o700:
        with suppress(OSError):
            os.fchmod(folder, 0o700)
    return folder


def main() -> None:
    """Delete everything below the descriptor in the command line."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_DESCRIPTORS, hard) if hard >= 0 else _DESCRIPTORS, hard))
    empty(int(sys.argv[1]))


if __name__ == "__main__":
    main()
