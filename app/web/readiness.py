"""Find out for ``/readyz`` what is ready."""

import math
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from app.engine import Engine, Inventory
from app.progress import Progress

_STORAGE_SECONDS = 1.0


@dataclass(frozen=True)
class Readiness:
    """Each part is ``ok`` or a sentence."""

    toolchain: str
    isolation: str
    storage: str
    engine: str

    @property
    def ready(self) -> bool:
        return self.toolchain == self.storage == self.engine == "ok"


class ReadinessCheck:
    """Asks each part; ``clock`` counts seconds."""

    def __init__(
        self, engine: Engine, inventory: Inventory, progress: Progress, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._inventory = inventory
        self._progress = progress
        self._clock = clock
        self._storage_seen = "", -math.inf
        self._checking_storage = anyio.Lock()

    async def now(self) -> Readiness:
        """Return what is ready and what is missing."""
        toolchain, engine = await self._inventory.health(), await self._engine.health()
        return Readiness(toolchain, self._inventory.isolation, await self._storage(), engine)

    async def _storage(self) -> str:
        """``ok``, or why progress cannot be written; an answer counts for a second, because to find it writes."""
        async with self._checking_storage:
            if self._clock() - self._storage_seen[1] > _STORAGE_SECONDS:
                try:
                    await self._progress.check()
                    found = "ok"
                except sqlite3.Error as error:
                    found = f"progress cannot be written: {error}"
                self._storage_seen = found, self._clock()
        return self._storage_seen[0]
