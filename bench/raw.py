"""Raw cargo in a project that is used again and again."""

import resource
import subprocess
import time
from pathlib import Path

from app.toolchain import build_env
from bench.common import Case


class Raw:
    """Raw cargo in a project that is reused."""

    def __init__(self, case: Case, folder: Path) -> None:
        folder.mkdir()
        self._case = case
        self._crate = folder / "crate"
        for path, text in case.lesson.solution.items():
            (self._crate / path).parent.mkdir(parents=True, exist_ok=True)
            (self._crate / path).write_text(text)
        (folder / "home").mkdir()
        self._env = build_env(case.toolchain, folder / "home")

    def run(self, source: str) -> tuple[float, float]:
        """Return the seconds of one build, and its processor time."""
        (self._crate / "src/main.rs").write_text(source)
        command = [str(self._case.toolchain.cargo), *self._case.command.split()[1:]]
        before, began = of_children(), time.perf_counter()
        subprocess.run(command, cwd=self._crate, env=self._env, check=True, capture_output=True)
        return time.perf_counter() - began, of_children() - before


def of_children() -> float:
    """Return the processor time of this process's children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
