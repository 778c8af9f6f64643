"""User ids for run slots, when the server is root: no two servers on a machine use the same one.

The end of a run kills whatever its user still runs, so a shared id would let one server end another's runs.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FIRST, LAST = 61000, 61999
"""Ids that distributions give to nobody."""

_LOCKS = Path("/run/freestanding-playground")


@contextmanager
def claimed(count: int, locks: Path = _LOCKS) -> Iterator[tuple[int, ...]]:
    """That many user ids, held until the end of the context; raises ``OSError`` when there are not as many."""
    locks.mkdir(mode=0o700, parents=True, exist_ok=True)
    held: dict[int, int] = {}
    try:
        for uid in range(FIRST, LAST + 1):
            if len(held) == count:
                break
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
