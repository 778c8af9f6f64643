"""Folders for unfinished work, beside the place where the finished work goes."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = ".unfinished-"


@contextmanager
def scratch(beside: Path) -> Iterator[Path]:
    """An empty folder in ``beside`` that is gone afterwards; the caller holds the cache folder's lock.

    What a killed set-up left there before is removed: with the lock held, nobody works in it.
    """
    beside.mkdir(parents=True, exist_ok=True)
    for left in beside.glob(f"{_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=beside))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
