"""A lock that allows one set-up at a time in a cache folder, even after an earlier one was killed."""

import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

_POLL_SECONDS = 0.2


@asynccontextmanager
async def locked(cache_dir: Path, say: Callable[[str], None]) -> AsyncIterator[int]:
    """Hold the cache folder's lock; yield its descriptor. Raises ``OSError`` if the lock file cannot be made.

    Waits for another set-up and announces that. A program that inherits the descriptor holds the lock until it ends, so
    a new set-up waits for programs that a killed one left running.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(cache_dir / "setup.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _try_lock(descriptor):
            say("Another set-up is running in this cache folder. Waiting for it to end.")
            while not _try_lock(descriptor):  # noqa: ASYNC110 - another process holds it, so there is no event to await
                await anyio.sleep(_POLL_SECONDS)
        yield descriptor
    finally:
        # Closed, not unlocked: unlocking would also take the lock from programs that inherited the descriptor.
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
