"""Follow the report of a run's emulated machine: its screen while it runs, and its end."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from app.protocol.events import Event, Screen
from app.run.machine import report
from app.runfiles import RunFolder, in_thread

_INTERVAL_SECONDS = 0.1
_MAX_SCREENS = 50
_NAME = "machine.json"


class Monitor:
    """Reads the file that the stand-in writes in ``home``, a folder below the run's own.

    Emits each changed screen, up to ``_MAX_SCREENS`` of them, and always the last one.
    """

    def __init__(self, folder: RunFolder, home: str, emit: Callable[[Event], None]) -> None:
        self._folder = folder
        self._path = f"{home}/{_NAME}"
        self._emit = emit
        self._content = b""
        self._last: report.StandInReport | None = None
        self._shown: Screen | None = None
        self._screens = 0

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Emit each new screen until the end of the context."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._emit_screens)
            yield
            tasks.cancel_scope.cancel()

    async def _emit_screens(self) -> None:
        while self._screens < _MAX_SCREENS:
            await anyio.sleep(_INTERVAL_SECONDS)
            self._emit_screen(await in_thread(self._read_change))

    async def end(self) -> None:
        """Emit the last screen and the machine's end, if there was a machine."""
        self._emit_screen(await in_thread(self._read_change))
        ended = report.machine(self._last) if self._last else None
        if ended:
            self._emit(ended)

    def _emit_screen(self, found: report.StandInReport | None) -> None:
        screen = report.screen(found) if found else None
        if screen and screen != self._shown:
            self._shown = screen
            self._screens += 1
            self._emit(screen)

    def _read_change(self) -> report.StandInReport | None:
        """Return the report if it has changed since the last call and is well-formed."""
        data = self._folder.read(self._path, report.LONGEST)
        if data is None or data == self._content:
            return None
        self._content = data
        self._last = report.parse(data)
        return self._last


def report_path(home: Path) -> Path:
    """Return the path of the report below the home folder of a run."""
    return home / _NAME
