"""The size of the std hello world, to which a learner's binary is compared.

The program is built once for each toolchain and profile, when the first binary of that profile is read.
"""

import logging
from functools import partial
from pathlib import PurePosixPath

import anyio

from app.engine import HelloWorldSize
from app.engine.builds import EngineBuilds
from app.engine.memo import Memo
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
        self._sizes = Memo[tuple[str, str], HelloWorldSize | None]()

    async def of(self, toolchain: Toolchain, profile: str) -> HelloWorldSize | None:
        """Return the size; build and measure the program first, if need be. None if it cannot be built."""
        return await self._sizes.get((toolchain.name, profile), partial(self._measure, toolchain, profile))

    async def _measure(self, toolchain: Toolchain, profile: str) -> HelloWorldSize | None:
        seed = await self._seeds.of(toolchain)
        try:
            async with self._builds.crate(_CRATE, seed) as workspace:
                with anyio.move_on_after(_SECONDS):
                    await self._builds.cargo(toolchain, workspace, "build", "-q", *_PROFILES[profile])
                size = await in_thread(workspace.size_of, f"target/{profile}/hello")
        except (OSError, ProgramGoneError) as error:
            _log.warning("the std program of toolchain %s could not be measured: %s", toolchain.name, error)
            return None
        return HelloWorldSize(size, toolchain.name, profile) if size else None
