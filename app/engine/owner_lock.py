"""Serialize requests per owner, so that an owner who asks for much delays only itself."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio


class PerOwnerLock:
    """A lock for each owner, kept while a task holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[str, anyio.Lock] = {}
        self._users: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return the number of owners whose lock is held or waited for."""
        return len(self._locks)

    @asynccontextmanager
    async def of(self, owner: str) -> AsyncIterator[None]:
        """Hold the owner's lock until the end of the context."""
        lock = self._locks.setdefault(owner, anyio.Lock())
        self._users[owner] += 1
        try:
            async with lock:
                yield
        finally:
            self._users[owner] -= 1
            if not self._users[owner]:
                del self._users[owner], self._locks[owner]
