"""What cargo knows of a compiler, learned once by the engine and laid into each run's fresh folder.

Cargo keeps the compiler's answers in ``target/.rustc_info.json``. Without that file each run in a fresh
folder asks again, which more than doubles it. In its home cargo keeps a small database of what it has downloaded,
nothing here, whose making costs 2 ms. Both are learned from a crate of our own, never from a learner's.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio

from app import workspace
from app.engine.side import Side
from app.runfiles import RunFolder, in_thread
from app.sandbox import ProgramGoneError
from app.toolchain import Toolchain

_log = logging.getLogger(__name__)
_SECONDS = 30.0
_CRATE = {
    "Cargo.toml": '[package]\nname = "seed"\nversion = "0.1.0"\nedition = "2021"\n',
    "src/lib.rs": "#![no_std]\n",
}
_CHECK = ("check", "-q")
_LEARNED = (f"{workspace.CRATE}/target/.rustc_info.json", "home/.cargo/.global-cache")
_LARGEST = 1024 * 1024
Seed = Mapping[str, bytes]
"""Files by their path in a run's folder."""
Config = tuple[str, str]
"""A cargo configuration whose flags change what cargo asks: its path in the crate and its text."""


class Seeds:
    """The seed of each toolchain, learned when it is first asked for."""

    def __init__(self, side: Side, configs: Sequence[Config]) -> None:
        self._side = side
        self._configs = configs
        self._known: dict[Path, Seed] = {}
        self._lock = anyio.Lock()

    async def of(self, toolchain: Toolchain) -> Seed:
        """The seed for this toolchain's runs; empty when it cannot be learned, which only costs time."""
        if toolchain.rustc not in self._known:
            async with self._lock:
                if toolchain.rustc not in self._known:
                    self._known[toolchain.rustc] = await self._learn(toolchain)
        return self._known[toolchain.rustc]

    async def _learn(self, toolchain: Toolchain) -> Seed:
        try:
            async with self._side.crate(_CRATE) as folder:
                with anyio.move_on_after(_SECONDS):
                    await self._ask(toolchain, folder)
                return await in_thread(_learned, folder)
        except (OSError, ProgramGoneError) as error:
            _log.warning("no seed for toolchain %s: %s", toolchain.name, error)
            return {}

    async def _ask(self, toolchain: Toolchain, folder: RunFolder) -> None:
        foreign = [triple for triple in toolchain.targets if triple != toolchain.host]
        await self._side.cargo(toolchain, folder, *_CHECK)
        for triple in foreign:
            await self._side.cargo(toolchain, folder, *_CHECK, "--target", triple)
        for path, text in self._configs:
            there = f"{workspace.CRATE}/{path}"
            await in_thread(folder.write, there, text.encode())
            await self._side.cargo(toolchain, folder, *_CHECK)
            await in_thread(folder.delete, there)


def _learned(folder: RunFolder) -> Seed:
    found = {path: folder.read(path, _LARGEST) for path in _LEARNED}
    return {path: data for path, data in found.items() if data is not None}
