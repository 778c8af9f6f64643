"""Follows the file in which a run's machine is described, while it runs and when it has ended."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from app.protocol.events import Event, Screen
from app.run.machine import report
from app.runfiles import RunFolder, in_thread

_EVERY = 0.1
_MOST_SCREENS = 50
_NAME = "machine.json"


class Monitor:
    """Looks into ``home``, a folder below the run's own, for the file that the run's programs write there.

    Screens are told when they change, the first ``_MOST_SCREENS`` of them at once; the last one in any case.
    """

    def __init__(self, folder: RunFolder, home: str, emit: Callable[[Event], None]) -> None:
        self._folder = folder
        self._path = f"{home}/{_NAME}"
        self._emit = emit
        self._read = b""
        self._last: report.StandInReport | None = None
        self._shown: Screen | None = None
        self._screens = 0

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Tell each new screen until the end of the context."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._follow)
            yield
            tasks.cancel_scope.cancel()

    async def _follow(self) -> None:
        while self._screens < _MOST_SCREENS:
            await anyio.sleep(_EVERY)
            self._tell(await in_thread(self._changed))

    async def end(self) -> None:
        """Tell the last screen and how the machine ended, if there was one."""
        self._tell(await in_thread(self._changed))
        ended = report.machine(self._last) if self._last else None
        if ended:
            self._emit(ended)

    def _tell(self, found: report.StandInReport | None) -> None:
        seen = report.screen(found) if found else None
        if seen and seen != self._shown:
            self._shown = seen
            self._screens += 1
            self._emit(seen)

    def _changed(self) -> report.StandInReport | None:
        data = self._folder.read(self._path, report.LONGEST)
        if data is None or data == self._read:
            return None
        self._read = data
        self._last = report.parse(data)
        return self._last


def reported(home: Path) -> Path:
    """The file's path for the run's programs, below its home."""
    return home / _NAME
