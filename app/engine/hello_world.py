"""The size of the std hello world, to which a learner's binary is compared.

The program is built once for each toolchain and profile, when the first binary of that profile is read.
"""

import logging
from pathlib import PurePosixPath

import anyio

from app.engine import HelloWorldSize
from app.engine.builds import EngineBuilds
from app.engine.seeds import Seeds
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
    """Return the profile that cargo built a file for, judged by its folder; None for a profile that is not measured."""
    folder = PurePosixPath(path).parent.name
    return folder if folder in _PROFILES else None


class HelloWorldSizes:
    """Measures the program once for each toolchain and profile, and remembers the sizes."""

    def __init__(self, builds: EngineBuilds, seeds: Seeds) -> None:
        self._builds = builds
        self._seeds = seeds
        self._known: dict[tuple[str, str], HelloWorldSize | None] = {}
        self._lock = anyio.Lock()

    def known(self, toolchain: Toolchain, profile: str) -> HelloWorldSize | None:
        """Return the size if it has been measured."""
        return self._known.get((toolchain.name, profile))

    async def learn(self, toolchain: Toolchain, profile: str) -> None:
        """Build and measure the program, unless an earlier call did so or failed."""
        async with self._lock:
            if (toolchain.name, profile) not in self._known:
                size = await self._measure(toolchain, profile)
                self._known[toolchain.name, profile] = HelloWorldSize(size, toolchain.name, profile) if size else None

    async def _measure(self, toolchain: Toolchain, profile: str) -> int | None:
        seed = await self._seeds.of(toolchain)
        try:
            async with self._builds.crate(_CRATE, seed) as workspace:
                with anyio.move_on_after(_SECONDS):
                    await self._builds.cargo(toolchain, workspace, "build", "-q", *_PROFILES[profile])
                return await in_thread(workspace.size_of, f"target/{profile}/hello")
        except (OSError, ProgramGoneError) as error:
            _log.warning("no std program of toolchain %s to measure against: %s", toolchain.name, error)
            return None
