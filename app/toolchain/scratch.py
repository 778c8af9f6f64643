"""Temporary folders for unfinished work, on the same file system as its destination."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = ".unfinished-"


@contextmanager
def scratch(beside: Path) -> Iterator[Path]:
    """Yield an empty folder in ``beside`` and remove it afterwards. The caller holds the cache folder's lock.

    Folders that a killed set-up left there are removed: while the lock is held, no other set-up uses them.
    """
    beside.mkdir(parents=True, exist_ok=True)
    for leftover in beside.glob(f"{_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=beside))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
