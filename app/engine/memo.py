"""Memoize an async function, calling it for one key at a time."""

import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import anyio

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memo(Generic[K, V]):
    """Values by key, each made when it is first asked for and kept for ``ttl`` seconds of ``clock``, or for ever.

    One value is made at a time, because each takes a compiler and the runs of learners need the processors.
    ``anyio.functools.lru_cache`` has a lock for each key and evicts keys while their values are being made.
    """

    def __init__(self, ttl: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl = ttl
        self._clock = clock
        self._made: dict[K, tuple[V, float]] = {}
        self._lock = anyio.Lock()

    async def get(self, key: K, make: Callable[[], Awaitable[V]]) -> V:
        """Return the value; call ``make`` for it unless it is known. An exception of ``make`` is not remembered."""
        if not self._is_known(key):
            async with self._lock:
                if not self._is_known(key):
                    self._made[key] = await make(), self._clock()
        return self._made[key][0]

    def _is_known(self, key: K) -> bool:
        if key not in self._made:
            return False
        return self._ttl is None or self._clock() - self._made[key][1] <= self._ttl
