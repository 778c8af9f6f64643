"""The engine's own cargo builds: one at a time, in a sandbox of their own."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio

from app.engine.scratch import Scratch
from app.run import workspace
from app.runfiles import RunFolder, in_thread
from app.sandbox import Box, process
from app.toolchain import Toolchain, build_env

_HOME = "home"


class EngineBuilds:
    """Builds crates of the engine's own, one at a time."""

    def __init__(self, scratch: Scratch, box: Box) -> None:
        self._scratch = scratch
        self._box = box
        self._lock = anyio.Lock()

    @asynccontextmanager
    async def crate(
        self, files: Mapping[str, str], seed: Mapping[str, bytes] | None = None
    ) -> AsyncIterator[RunFolder]:
        """Yield a fresh folder with the crate and its seed; delete it afterwards."""
        async with self._lock, self._scratch.folder(self._box) as folder:
            await in_thread(_lay, folder, files, seed or {})
            yield folder

    async def cargo(self, toolchain: Toolchain, folder: RunFolder, *words: str) -> int | None:
        """Run cargo on the crate and return its exit code. Raises ``OSError``, ``ProgramGoneError``."""
        root = folder.path
        await in_thread(self._box.own, root)
        env = build_env(toolchain, self._box.inside(root) / _HOME)
        command = [str(toolchain.cargo), *words]
        async with process(self._box, command, root, root / workspace.CRATE, env, toolchain.folders) as child:
            assert child.process.stderr is not None
            async for _ in child.process.stderr:
                pass
            return await child.process.wait()


def _lay(folder: RunFolder, files: Mapping[str, str], seed: Mapping[str, bytes]) -> None:
    workspace.lay(folder, files)
    folder.make_folder(_HOME)
    workspace.sow(folder, seed)
