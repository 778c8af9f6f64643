"""The engine's own builds, beside those of learners: one box, used by one at a time."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio

from app.engine.scratch import Scratch
from app.run import workspace
from app.runfiles import RunFolder, in_thread
from app.sandbox import Box, process
from app.toolchain import Toolchain, build_env

_HOME = "home"


class Side:
    """Where the engine builds crates of its own."""

    def __init__(self, scratch: Scratch, box: Box) -> None:
        self._scratch = scratch
        self._box = box
        self._lock = anyio.Lock()

    @asynccontextmanager
    async def crate(
        self, files: Mapping[str, str], seed: Mapping[str, bytes] | None = None
    ) -> AsyncIterator[RunFolder]:
        """A fresh folder with a crate and its seed in it, which is gone afterwards."""
        async with self._lock, self._scratch.folder(self._box) as folder:
            await in_thread(_lay, folder, files, seed or {})
            yield folder

    async def cargo(self, toolchain: Toolchain, folder: RunFolder, *words: str) -> int | None:
        """Run cargo on the crate to its end; its exit code. Raises ``OSError``, ``ProgramGoneError``."""
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
