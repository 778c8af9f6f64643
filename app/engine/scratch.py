"""Where the runs of one server lie, and the removal of what a killed server left."""

import fcntl
import itertools
import logging
import os
import secrets
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import anyio

from app.runfiles import RunFolder, in_thread, removal, removed
from app.sandbox import Box, may_give

_log = logging.getLogger(__name__)
_READ_BY_CARGO = (".cargo/config.toml", ".cargo/config", "Cargo.toml")
_PREFIX = "server-"
_DRAFT = "starting-"
_LOCK = "lock"
_ARTIFACTS = "artifacts"


class Scratch:
    """A folder of this process's own below ``base``, removed at the end.

    Each such folder holds a locked file. A folder whose file can be locked belongs to a server that is no
    more, so it is removed at the next start; a server that still runs keeps its own.
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
        self._lock.close()

    def _begin(self) -> None:
        ensure_private(self._base)
        # Cargo names files by their real paths.
        base = self._base.resolve()
        _warn_of_configurations(base)
        for folder in base.glob(f"{_PREFIX}*"):
            _remove_abandoned(folder)
        # Made under another name and locked before it is seen, or a server that starts now could take it for abandoned.
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=base))
        self._lock = (draft / _LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        (draft / _ARTIFACTS).mkdir(mode=0o700)
        self.path = draft.rename(base / draft.name.replace(_DRAFT, _PREFIX, 1))
        if may_give():
            # Runs have users of their own then; they may pass, and see nothing but their own folder.
            for folder in (base, self.path):
                folder.chmod(0o711)
            _warn_if_closed(base)

    def new_root(self) -> Path:
        """A folder for one run; it does not exist yet. Its name is short, because cargo shows it."""
        return self.path / str(next(self._numbers))

    @asynccontextmanager
    async def folder(self, box: Box) -> AsyncIterator[RunFolder]:
        """A folder for what runs in the box; it does not exist yet, and is gone afterwards."""
        folder = RunFolder(self.new_root(), box.user)
        try:
            yield folder
        finally:
            folder.close()
            with anyio.CancelScope(shield=True):
                await self.discard(folder.path)

    def new_kept(self) -> Path:
        """A folder for what a run builds; it does not exist yet. Its name says nothing: others may come to see it."""
        return self.path / _ARTIFACTS / secrets.token_hex(8)

    async def discard(self, folder: Path) -> None:
        """Delete a folder, if it is there."""
        if await removed(folder):
            self._left.discard(folder)
        elif folder not in self._left:
            self._left.add(folder)
            _log.warning("%s could not be deleted; it is tried again from time to time", folder)

    async def tidy(self) -> None:
        """Delete what could not be deleted before."""
        for folder in tuple(self._left):
            await self.discard(folder)


def ensure_private(base: Path) -> None:
    """Make the folder; raises ``PermissionError`` when another user could change it."""
    base.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = base.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(f"others can change {base}; name another folder with PLAYGROUND_SCRATCH_DIR")


def _warn_if_closed(base: Path) -> None:
    for folder in base.resolve().parents:
        if not folder.stat().st_mode & stat.S_IXOTH:
            _log.warning("the runs' users cannot pass %s to their folders; move PLAYGROUND_SCRATCH_DIR", folder)


def _warn_of_configurations(base: Path) -> None:
    for folder in base.resolve().parents:
        for found in (folder / name for name in _READ_BY_CARGO):
            if found.exists():
                _log.warning("%s lies above the runs, so cargo reads it in each; move PLAYGROUND_SCRATCH_DIR", found)


def _remove_abandoned(folder: Path) -> None:
    try:
        with (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not removal.remove(folder):
                removal.remove_apart(folder)
    except FileNotFoundError:
        # Without its lock file it is another server's that is just starting, or one that is just ending.
        return
    except BlockingIOError:
        return
