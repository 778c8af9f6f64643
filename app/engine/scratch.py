"""Where the runs of one server lie, and the removal of what a killed server left."""

import fcntl
import itertools
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

_PREFIX = "server-"
_LOCK = "lock"


class Scratch:
    """A folder of this process's own below ``base``, removed at the end.

    Each such folder holds a locked file. A folder whose file can be locked belongs to a server that is no
    more, so it is removed at the next start; a server that still runs keeps its own.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        self._base.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in self._base.glob(f"{_PREFIX}*"):
            _remove_abandoned(folder)
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._base))
        self._lock = (self.folder / _LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
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
        """Where the copy of a run's artefact lies."""
        return self.folder / "artifacts" / run_id


def _remove_abandoned(folder: Path) -> None:
    try:
        with (folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except FileNotFoundError:
        # Without its lock file it is another server's that is just starting, or one that is just ending.
        return
    except BlockingIOError:
        return
