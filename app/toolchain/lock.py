"""One set-up at a time in a cache folder, also when the one before was killed."""

import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

_POLL_SECONDS = 0.2


@asynccontextmanager
async def locked(cache_dir: Path, say: Callable[[str], None]) -> AsyncIterator[int]:
    """Hold the cache folder's lock; waits for another set-up and says so. Raises ``OSError`` when it cannot be made.

    Gives the lock's descriptor. A program that inherits it keeps the lock for as long as it lives, so that
    what a killed set-up left running is never disturbed and never disturbs.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(cache_dir / "setup.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _taken(descriptor):
            say("Another set-up is at work in this cache folder; waiting for it to end.")
            while not _taken(descriptor):  # noqa: ASYNC110 - another process holds it, no event tells
                await anyio.sleep(_POLL_SECONDS)
        yield descriptor
    finally:
        # Closing, not unlocking: unlocking would also take it from the programs that inherited it.
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
