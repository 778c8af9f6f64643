"""Count in sliding windows, in this process's memory and by the monotonic clock.

The storage of the library ``limits`` uses the wall clock. If that were set back by an hour, every seat that was active
in the last minute would be refused for an hour.
"""

import time
from collections import deque

from limits import RateLimitItem

_MOST_KEYS = 10_000

Key = tuple[str, ...]


class Windows:
    """Count the hits of each key within its limit's time."""

    def __init__(self) -> None:
        self._hits: dict[Key, tuple[float, deque[float]]] = {}
        self._next_eviction = 0.0

    def hit(self, limit: RateLimitItem, *key: str) -> float:
        """Count one more hit and return 0, or count nothing and return the seconds until there is room again."""
        now, seconds = time.monotonic(), float(limit.get_expiry())
        self._evict_idle_keys(now)
        _, hits = self._hits.setdefault(key, (seconds, deque()))
        while hits and hits[0] <= now - seconds:
            hits.popleft()
        if len(hits) < limit.amount:
            hits.append(now)
            return 0.0
        return hits[0] + seconds - now

    def __len__(self) -> int:
        return len(self._hits)

    def _evict_idle_keys(self, now: float) -> None:
        """Evict keys whose windows are empty by now, at most once a second."""
        if len(self._hits) > _MOST_KEYS and now > self._next_eviction:
            self._next_eviction = now + 1
            idle = [key for key, (seconds, hits) in self._hits.items() if not hits or hits[-1] <= now - seconds]
            for key in idle:
                del self._hits[key]
