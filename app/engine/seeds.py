"""Cargo's knowledge of a compiler, obtained once by the engine and copied into each run's fresh folder.

Cargo keeps the compiler's answers in ``target/.rustc_info.json``. Without that file each run in a fresh
folder asks again, which more than doubles it. In its home cargo keeps a small database of what it has downloaded,
nothing here, whose making costs 2 ms. Both are learned from a crate of our own, never from a learner's, and kept in the
cache folder for the next start.
"""

import base64
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio

from app import __version__
from app.engine.builds import EngineBuilds
from app.engine.memo import Memo
from app.run.workspace import HOME, Seed, Workspace
from app.runfiles import in_thread
from app.sandbox import ProgramGoneError
from app.toolchain import Toolchain

_log = logging.getLogger(__name__)
_SECONDS = 30.0
_CRATE = {
    "Cargo.toml": '[package]\nname = "seed"\nversion = "0.1.0"\nedition = "2021"\n',
    "src/lib.rs": "#![no_std]\n",
}
_CHECK = ("check", "-q")
_IN_CRATE = ("target/.rustc_info.json",)
_IN_HOME = (".cargo/.global-cache",)
_LARGEST = 1024 * 1024
Config = tuple[str, str]
"""A cargo configuration whose flags change what cargo asks the compiler: its path in the crate, and its text."""


class Seeds:
    """The seed of each toolchain, learned when it is first asked for."""

    def __init__(self, builds: EngineBuilds, configs: Sequence[Config], cache_dir: Path) -> None:
        self._builds = builds
        self._kept = cache_dir / "seeds"
        self._configs = configs
        self._known = Memo[Path, Seed]()

    async def of(self, toolchain: Toolchain) -> Seed:
        """Return the seed for this toolchain's runs. It is empty if it cannot be learned, which only costs time."""
        return await self._known.get(toolchain.rustc, partial(self._find, toolchain))

    async def _find(self, toolchain: Toolchain) -> Seed:
        try:
            kept = self._kept / _key(toolchain, self._configs)
            found = await in_thread(_read, kept)
            if found is None:
                found, whole = await self._learn(toolchain)
                if whole:
                    await in_thread(_write, kept, found)
        except (OSError, ProgramGoneError) as error:
            _log.warning("no seed for toolchain %s: %s", toolchain.name, error)
            return Seed()
        return found

    async def _learn(self, toolchain: Toolchain) -> tuple[Seed, bool]:
        """Have cargo make a seed. Also return True if it is complete, which it is not after a timeout."""
        async with self._builds.crate(_CRATE) as workspace:
            with anyio.move_on_after(_SECONDS) as limit:
                await self._ask(toolchain, workspace)
            found = await in_thread(_learned, workspace)
            return found, _IN_CRATE[0] in found.crate and not limit.cancelled_caught

    async def _ask(self, toolchain: Toolchain, workspace: Workspace) -> None:
        foreign = [triple for triple in toolchain.targets if triple != toolchain.host]
        await self._builds.cargo(toolchain, workspace, *_CHECK)
        for triple in foreign:
            await self._builds.cargo(toolchain, workspace, *_CHECK, "--target", triple)
        for path, text in self._configs:
            there = f"{workspace.crate}/{path}"
            await in_thread(workspace.folder.write, there, text.encode())
            await self._builds.cargo(toolchain, workspace, *_CHECK)
            await in_thread(workspace.folder.delete, there)


def _learned(workspace: Workspace) -> Seed:
    def read(above: str, paths: Sequence[str]) -> dict[str, bytes]:
        found = {path: workspace.folder.read(f"{above}/{path}", _LARGEST) for path in paths}
        return {path: data for path, data in found.items() if data is not None}

    return Seed(read(workspace.crate, _IN_CRATE), read(HOME, _IN_HOME))


def _key(toolchain: Toolchain, configs: Sequence[Config]) -> str:
    """Return the name of the file with this compiler's seed. Raises ``OSError`` if the compiler is gone."""
    # Cargo discards what it knows of a compiler whose file has changed.
    files = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in toolchain.programs]
    about = [__version__, toolchain.commit, files, sorted(toolchain.targets), configs]
    return f"{toolchain.name}-{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]}.json"


def _read(kept: Path) -> Seed | None:
    """Return the seed that an earlier start has kept, or None if there is no readable one."""
    try:
        texts = json.loads(kept.read_bytes())
        found = Seed(_decoded(texts["crate"], _IN_CRATE), _decoded(texts["home"], _IN_HOME))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found if _IN_CRATE[0] in found.crate else None


def _decoded(texts: Mapping[str, str], paths: Sequence[str]) -> dict[str, bytes]:
    return {path: base64.b64decode(texts[path], validate=True) for path in paths if path in texts}


def _encoded(files: Mapping[str, bytes]) -> dict[str, str]:
    return {path: base64.b64encode(data).decode() for path, data in files.items()}


def _write(kept: Path, seed: Seed) -> None:
    """Keep a seed. If the cache folder cannot be written, the next start learns the seed again."""
    with suppress(OSError):
        kept.parent.mkdir(exist_ok=True)
        draft = kept.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps({"crate": _encoded(seed.crate), "home": _encoded(seed.home)}))
        draft.replace(kept)
        for other in kept.parent.glob(f"{kept.name.partition('-')[0]}-*"):
            if other != kept:
                other.unlink()


def cargo_configs(crates: Iterable[Mapping[str, str]]) -> tuple[Config, ...]:
    """Return the cargo configurations of these crates, whose flags change what cargo asks the compiler."""
    path = ".cargo/config.toml"
    return tuple(dict.fromkeys((path, crate[path]) for crate in crates if path in crate))
