"""Check for ``/readyz`` which parts are ready."""

import math
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from app.engine import Engine, Inventory
from app.progress import Progress
from app.web.watch import Load
from app.web.words import WARMING, storage_fails

_STORAGE_SECONDS = 1.0


@dataclass(frozen=True)
class Readiness:
    """The state of each part: ``ok`` or a sentence. ``waiting`` runs wait, the oldest for ``oldest_wait`` seconds."""

    toolchain: str
    isolation: str
    storage: str
    engine: str
    waiting: int = 0
    oldest_wait: float = 0.0

    @property
    def ready(self) -> bool:
        return self.toolchain == self.storage == self.engine == "ok"


class ReadinessCheck:
    """Check each part; ``clock`` returns seconds."""

    def __init__(
        self,
        engine: Engine,
        inventory: Inventory,
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
        *,
        warming: Callable[[], bool] = lambda: False,
        load: Callable[[], Awaitable[Load]] | None = None,
    ) -> None:
        self._load = load
        self._warming = warming
        self._engine = engine
        self._inventory = inventory
        self._progress = progress
        self._clock = clock
        self._storage_seen = "", -math.inf
        self._checking_storage = anyio.Lock()

    async def now(self) -> Readiness:
        """Return the current state of each part."""
        toolchain, engine = await self._inventory.health(), await self._engine.health()
        if engine == "ok" and self._warming():
            engine = WARMING
        load = await self._load() if self._load else Load(0, 0, 0.0)
        oldest = round(load.oldest_wait, 3)
        return Readiness(toolchain, self._inventory.isolation, await self._storage(), engine, load.waiting, oldest)

    async def _storage(self) -> str:
        """Return ``ok`` or why progress cannot be written. The check writes, so its result is reused for a second."""
        async with self._checking_storage:
            if self._clock() - self._storage_seen[1] > _STORAGE_SECONDS:
                try:
                    await self._progress.check()
                    found = "ok"
                except sqlite3.Error as error:
                    found = storage_fails(error)
                self._storage_seen = found, self._clock()
        return self._storage_seen[0]
