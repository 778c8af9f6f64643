"""The engine's own cargo builds: one at a time, in a sandbox of their own."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio

from app.engine.scratch import Scratch
from app.run.workspace import HOME, Seed, Workspace
from app.runfiles import in_thread
from app.sandbox import Box, process
from app.toolchain import Toolchain, build_env

_CRATE = "crate"


class EngineBuilds:
    """Builds crates of the engine's own, one at a time."""

    def __init__(self, scratch: Scratch, box: Box) -> None:
        self._scratch = scratch
        self._box = box
        self._lock = anyio.Lock()

    @asynccontextmanager
    async def crate(self, files: Mapping[str, str], seed: Seed | None = None) -> AsyncIterator[Workspace]:
        """Lay a crate and its seed into a fresh folder, which is removed afterwards."""
        async with self._lock, self._scratch.folder(self._box) as folder:
            workspace = Workspace(folder, _CRATE)
            await in_thread(workspace.lay, files, seed)
            yield workspace

    async def cargo(self, toolchain: Toolchain, workspace: Workspace, *words: str) -> int | None:
        """Run cargo on the crate and return its exit code. Raises ``OSError``, ``ProgramGoneError``."""
        root = workspace.folder.path
        await in_thread(self._box.own, root)
        env = build_env(toolchain, self._box.inside(root) / HOME)
        command = [str(toolchain.cargo), *words]
        async with process(self._box, command, root, workspace.root, env, toolchain.folders) as child:
            assert child.process.stderr is not None
            async for _ in child.process.stderr:
                pass
            return await child.process.wait()
