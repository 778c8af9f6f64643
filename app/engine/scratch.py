"""The folder in which the runs of one server lie, and the removal of those that killed servers left."""

import fcntl
import itertools
import logging
import os
import secrets
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

import anyio

from app.runfiles import RunFolder, in_thread, removal, removed
from app.sandbox import Box, may_give
from app.settings import starts_programs

_log = logging.getLogger(__name__)
_READ_BY_CARGO = (".cargo/config.toml", ".cargo/config", "Cargo.toml")
_PREFIX = "server-"
_DRAFT = "starting-"
_OLD_LOCK = "lock"
_NEW_SECONDS = 60.0
_ARTIFACTS = "artifacts"


class Scratch:
    """A folder of this process below ``base``, removed at the end.

    This process locks the folder itself. If a start can lock another one, the server that made it is gone, and the
    folder is removed.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self._numbers = itertools.count(1)
        self._left: set[Path] = set()

    async def __aenter__(self) -> Self:
        await in_thread(self._begin)
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            await removed(self.path)
        os.close(self._lock)

    def _begin(self) -> None:
        ensure_private(self._base)
        # Cargo prints real paths, so they are compared to those.
        base = self._base.resolve()
        for sentence in flaws(base):
            _log.warning(sentence)
        for folder in (*base.glob(f"{_PREFIX}*"), *base.glob(f"{_DRAFT}*")):
            _remove_abandoned(folder)
        # It gets its name once it is locked. Otherwise a server that starts now could remove it as abandoned.
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=base))
        self._lock = _locked(draft)
        (draft / _ARTIFACTS).mkdir(mode=0o700)
        self.path = draft.rename(base / draft.name.replace(_DRAFT, _PREFIX, 1))
        if may_give():
            # Runs have users of their own, who may pass these folders without listing them.
            for folder in (base, self.path):
                folder.chmod(0o711)

    def new_root(self) -> Path:
        """Return the path of a new folder for one run. Its name is short, because cargo prints it."""
        return self.path / str(next(self._numbers))

    @asynccontextmanager
    async def folder(self, box: Box) -> AsyncIterator[RunFolder]:
        """Yield a folder for a process in the box, not yet made. It is removed afterwards."""
        folder = RunFolder(self.new_root(), box.user)
        try:
            yield folder
        finally:
            folder.close()
            with anyio.CancelScope(shield=True):
                await self.discard(folder.path)

    def new_kept(self) -> Path:
        """Return the path of a new folder for a run's artifact. Its name is random, because learners can see it."""
        return self.path / _ARTIFACTS / secrets.token_hex(8)

    async def keep(self, files: Sequence[tuple[str, bytes]]) -> list[Path]:
        """Write files, by name, into a new folder for a run's artifact; return their paths."""
        return await in_thread(_write, self.new_kept(), files)

    async def discard(self, folder: Path) -> None:
        """Delete a folder, if it exists. If that fails, ``tidy`` tries again."""
        if await removed(folder):
            self._left.discard(folder)
        elif folder not in self._left:
            self._left.add(folder)
            _log.warning("%s could not be deleted; the engine tries again from time to time", folder)

    async def tidy(self) -> None:
        """Try again to delete the folders that ``discard`` could not."""
        for folder in tuple(self._left):
            await self.discard(folder)


def _write(folder: Path, files: Sequence[tuple[str, bytes]]) -> list[Path]:
    folder.mkdir(mode=0o700)
    for name, content in files:
        (folder / name).write_bytes(content)
    return [folder / name for name, _ in files]


def ensure_private(base: Path) -> None:
    """Make the folder. Raises ``PermissionError`` if another user could change it."""
    base.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = base.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(f"others can change {base}; name another folder with PLAYGROUND_SCRATCH_DIR")


def flaws(base: Path) -> Iterator[str]:
    """Yield a sentence for each thing that disturbs runs in a folder, which need not exist yet."""
    there = [folder for folder in (base.resolve(), *base.resolve().parents) if folder.is_dir()]
    if not starts_programs(there[0]):
        yield f"No program can be started from {there[0]}, which is mounted noexec; move PLAYGROUND_SCRATCH_DIR."
    for folder in there:
        if folder == base.resolve():
            continue
        for found in (folder / name for name in _READ_BY_CARGO):
            if found.exists():
                yield f"{found} lies above the runs, so cargo reads it in each; move PLAYGROUND_SCRATCH_DIR."
        if may_give() and not folder.stat().st_mode & stat.S_IXOTH:
            yield f"The runs' users cannot pass {folder} to their folders; move PLAYGROUND_SCRATCH_DIR."


def _locked(folder: Path) -> int:
    """Lock a folder; return the descriptor that holds the lock. Raises ``BlockingIOError`` if another process does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _remove_abandoned(folder: Path) -> None:
    """Remove a folder whose server is gone. A draft may belong to a server that is about to lock it."""
    with suppress(OSError):
        lock = _locked(folder)
        try:
            is_new = folder.name.startswith(_DRAFT) and time.time() - folder.stat().st_mtime < _NEW_SECONDS
            if not is_new and not _is_locked_as_before(folder) and not removal.remove(folder):
                removal.remove_apart(folder)
        finally:
            os.close(lock)


def _is_locked_as_before(folder: Path) -> bool:
    """Return True if a server of November 2026 uses the folder: it locks a file in it."""
    try:
        with (folder / _OLD_LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
