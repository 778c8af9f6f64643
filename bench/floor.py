"""The floor of a run: cargo in a fresh, seeded folder, in the sandbox of a run, but without a server."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import anyio

from app.run.workspace import HOME, Seed, Workspace
from app.runfiles import RunFolder
from app.sandbox import Box, detect
from app.settings import Settings
from app.toolchain import build_env, discover
from bench.common import Case
from bench.raw import of_children

_CRATE = "crate"
_SEED = "target/.rustc_info.json"
_OF_HOME = ".cargo/.global-cache"
_LARGEST = 1 << 20


class Floor:
    """Runs a case's command, each time in a new folder below ``folder``."""

    def __init__(self, case: Case, box: Box, folder: Path) -> None:
        self._case = case
        self._box = box
        self._folder = folder
        self._count = 0
        self._seed = Seed()
        self._seed = self._learned()

    @classmethod
    @contextmanager
    def of(cls, case: Case, folder: Path) -> Iterator[Self]:
        """Yield the floor of a case at the strongest level of isolation here."""
        folder.mkdir(mode=0o711)
        settings = Settings(scratch_dir=folder)
        isolation = anyio.run(detect, settings, anyio.run(discover, settings.cache_dir))
        with isolation.slots(1) as boxes:
            yield cls(case, boxes[0], folder)

    def run(self, source: str) -> tuple[float, float]:
        """Return the seconds of one build, and its processor time."""
        workspace = self._laid(source)
        took = self._build(workspace)
        self._remove(workspace)
        return took

    def _learned(self) -> Seed:
        workspace = self._laid(self._case.source())
        self._build(workspace)
        crate = {_SEED: workspace.folder.read(f"{_CRATE}/{_SEED}", _LARGEST)}
        home = {_OF_HOME: workspace.folder.read(f"{HOME}/{_OF_HOME}", _LARGEST)}
        self._remove(workspace)
        return Seed(*({path: data for path, data in files.items() if data is not None} for files in (crate, home)))

    def _laid(self, source: str) -> Workspace:
        self._count += 1
        workspace = Workspace(RunFolder(self._folder / str(self._count), self._box.user), _CRATE)
        workspace.lay({**self._case.lesson.solution, "src/main.rs": source}, self._seed)
        self._box.own(workspace.folder.path)
        return workspace

    def _build(self, workspace: Workspace) -> tuple[float, float]:
        toolchain, root = self._case.toolchain, workspace.folder.path
        argv = [str(toolchain.cargo), *self._case.command.split()[1:]]
        words = self._box.command(argv, root, workspace.root, toolchain.folders)
        env = build_env(toolchain, self._box.inside(root) / HOME)
        before, began = of_children(), time.perf_counter()
        subprocess.run(words, cwd=workspace.root, env=env, check=True, capture_output=True)
        return time.perf_counter() - began, of_children() - before

    @staticmethod
    def _remove(workspace: Workspace) -> None:
        workspace.folder.close()
        shutil.rmtree(workspace.folder.path)
