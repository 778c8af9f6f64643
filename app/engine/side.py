"""The engine's own builds, beside those of learners: one box, used by one at a time."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from app import workspace
from app.engine.scratch import Scratch
from app.sandbox import Box, process
from app.toolchain import Toolchain, build_env


class Side:
    """Where the engine builds crates of its own."""

    def __init__(self, scratch: Scratch, box: Box) -> None:
        self._scratch = scratch
        self._box = box
        self._lock = anyio.Lock()

    @asynccontextmanager
    async def crate(self, files: Mapping[str, str]) -> AsyncIterator[tuple[Path, Path]]:
        """A fresh folder and the crate in it; both are gone afterwards."""
        async with self._lock:
            root = self._scratch.new_root()
            try:
                crate = workspace.lay(root, files)
                (root / "home").mkdir()
                yield root, crate
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(workspace.remove, root)

    async def cargo(self, toolchain: Toolchain, root: Path, crate: Path, *words: str) -> int | None:
        """Run cargo on the crate to its end; its exit code. Raises ``OSError``, ``ProgramGoneError``."""
        self._box.own(root)
        env = build_env(toolchain, self._box.inside(root) / "home")
        command = [str(toolchain.cargo), *words]
        async with process(self._box, command, root, crate, env, toolchain.folders) as child:
            assert child.process.stderr is not None
            async for _ in child.process.stderr:
                pass
            return await child.process.wait()
