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
from app.engine.scratch import Scratch
from app.sandbox import Box, ProgramGoneError, process
from app.toolchain import Toolchain, build_env

_log = logging.getLogger(__name__)
_SECONDS = 30.0
_CRATE = {
    "Cargo.toml": '[package]\nname = "seed"\nversion = "0.1.0"\nedition = "2021"\n',
    "src/lib.rs": "#![no_std]\n",
}
_LEARNED = (f"{workspace.CRATE}/target/.rustc_info.json", "home/.cargo/.global-cache")
Seed = Mapping[str, bytes]
"""Files by their path in a run's folder."""
Config = tuple[str, str]
"""A cargo configuration whose flags change what cargo asks: its path in the crate and its text."""


class Seeds:
    """The seed of each toolchain, learned when it is first asked for."""

    def __init__(self, scratch: Scratch, box: Box, configs: Sequence[Config]) -> None:
        self._scratch = scratch
        self._box = box
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
        root = self._scratch.new_root()
        try:
            crate = workspace.lay(root, _CRATE)
            (root / "home").mkdir()
            with anyio.move_on_after(_SECONDS):
                await self._ask(toolchain, root, crate)
            return {path: (root / path).read_bytes() for path in _LEARNED if (root / path).exists()}
        except (OSError, ProgramGoneError) as error:
            _log.warning("no seed for toolchain %s: %s", toolchain.name, error)
            return {}
        finally:
            await anyio.to_thread.run_sync(workspace.remove, root)

    async def _ask(self, toolchain: Toolchain, root: Path, crate: Path) -> None:
        foreign = [triple for triple in toolchain.targets if triple != toolchain.host]
        for config in (None, *self._configs):
            _configure(crate, config)
            await self._check(toolchain, root, crate, ())
        _configure(crate, None)
        for triple in foreign:
            await self._check(toolchain, root, crate, ("--target", triple))

    async def _check(self, toolchain: Toolchain, root: Path, crate: Path, options: Sequence[str]) -> None:
        self._box.own(root)
        env = build_env(toolchain, self._box.inside(root) / "home")
        command = [str(toolchain.cargo), "check", "-q", *options]
        async with process(self._box, command, root, crate, env, toolchain.folders) as child:
            assert child.process.stderr is not None
            async for _ in child.process.stderr:
                pass
            await child.process.wait()


def _configure(crate: Path, config: Config | None) -> None:
    workspace.remove(crate / ".cargo")
    if config:
        path = crate / config[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(config[1], encoding="utf-8")
