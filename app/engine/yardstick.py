"""How large the std hello world is: what a learner's binary is measured against.

Built once for each toolchain and profile, when the first binary of that profile is looked at.
"""

import logging
from pathlib import PurePosixPath

import anyio

from app.engine import Std
from app.engine.seeds import Seeds
from app.engine.side import Side
from app.runfiles import in_thread
from app.sandbox import ProgramGoneError
from app.toolchain import Toolchain

_log = logging.getLogger(__name__)
_SECONDS = 60.0
_PROFILES = {"debug": (), "release": ("--release",)}
_CRATE = {
    "Cargo.toml": '[package]\nname = "hello"\nversion = "0.1.0"\nedition = "2021"\n',
    "src/main.rs": 'fn main() {\n    println!("Hello, world!");\n}\n',
}


def profile_of(path: str) -> str | None:
    """The profile that cargo built a file for, by where it put it; None for one that is not measured."""
    folder = PurePosixPath(path).parent.name
    return folder if folder in _PROFILES else None


class Yardsticks:
    """The sizes that are known by now, and the making of further ones."""

    def __init__(self, side: Side, seeds: Seeds) -> None:
        self._side = side
        self._seeds = seeds
        self._known: dict[tuple[str, str], Std | None] = {}
        self._lock = anyio.Lock()

    def known(self, toolchain: Toolchain, profile: str) -> Std | None:
        """The size, if it is known already."""
        return self._known.get((toolchain.name, profile))

    async def learn(self, toolchain: Toolchain, profile: str) -> None:
        """Build the program and measure it, unless that was done or tried before."""
        async with self._lock:
            if (toolchain.name, profile) not in self._known:
                size = await self._measure(toolchain, profile)
                self._known[toolchain.name, profile] = Std(size, toolchain.name, profile) if size else None

    async def _measure(self, toolchain: Toolchain, profile: str) -> int | None:
        seed = await self._seeds.of(toolchain)
        try:
            async with self._side.crate(_CRATE, seed) as workspace:
                with anyio.move_on_after(_SECONDS):
                    await self._side.cargo(toolchain, workspace, "build", "-q", *_PROFILES[profile])
                return await in_thread(workspace.size_of, f"target/{profile}/hello")
        except (OSError, ProgramGoneError) as error:
            _log.warning("no std program of toolchain %s to measure against: %s", toolchain.name, error)
            return None
