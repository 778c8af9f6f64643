"""Where the runs of one server lie, and the removal of what a killed server left."""

import fcntl
import itertools
import logging
import os
import shutil
import stat
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from app.sandbox import may_give

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

    def __enter__(self) -> Self:
        ensure_private(self._base)
        _warn_of_configurations(self._base)
        for folder in self._base.glob(f"{_PREFIX}*"):
            _remove_abandoned(folder)
        # Made under another name and locked before it is seen, or a server that starts now could take it for abandoned.
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=self._base))
        self._lock = (draft / _LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        (draft / _ARTIFACTS).mkdir(mode=0o700)
        self.folder = draft.rename(self._base / draft.name.replace(_DRAFT, _PREFIX, 1))
        if may_give():
            # Runs have users of their own then; they may pass, and see nothing but their own folder.
            for folder in (self._base, self.folder):
                folder.chmod(0o711)
            _warn_if_closed(self._base)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def new_root(self) -> Path:
        """A scratch folder for one run; it does not exist yet. Its name is short, because cargo shows it."""
        return self.folder / str(next(self._numbers))

    def kept(self, run_id: str) -> Path:
        """The folder of what a run built; it does not exist yet."""
        return self.folder / _ARTIFACTS / run_id

    def drop(self, run_id: str) -> None:
        """Delete what a run built, if anything."""
        shutil.rmtree(self.kept(run_id), ignore_errors=True)


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
            shutil.rmtree(folder, ignore_errors=True)
    except FileNotFoundError:
        # Without its lock file it is another server's that is just starting, or one that is just ending.
        return
    except BlockingIOError:
        return
