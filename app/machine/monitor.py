"""Follows the file in which a run's machine is described, while it runs and when it has ended."""

import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import anyio

from app.events import Event, Screen
from app.machine import report

_EVERY = 0.1
_MOST_SCREENS = 50
_NAME = "machine.json"


class Monitor:
    """Looks into ``folder``, which the run can write to: the file is read without following any link.

    Screens are told when they change, the first ``_MOST_SCREENS`` of them at once; the last one in any case.
    """

    def __init__(self, folder: Path, emit: Callable[[Event], None]) -> None:
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._emit = emit
        self._read: tuple[int, int] | None = None
        self._last: report.Report | None = None
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
            self._tell(self._changed())

    def end(self) -> None:
        """Tell the last screen and how the machine ended, if there was one."""
        self._tell(self._changed())
        ended = report.machine(self._last) if self._last else None
        if ended:
            self._emit(ended)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._folder)

    def _tell(self, found: report.Report | None) -> None:
        seen = report.screen(found) if found else None
        if seen and seen != self._shown:
            self._shown = seen
            self._screens += 1
            self._emit(seen)

    def _changed(self) -> report.Report | None:
        try:
            file = os.open(_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._folder)
        except OSError:
            return None
        try:
            found = os.fstat(file)
            mark = (found.st_ino, found.st_mtime_ns)
            if mark == self._read or not stat.S_ISREG(found.st_mode) or found.st_size > report.LONGEST:
                return None
            self._read = mark
            self._last = report.parse(os.read(file, report.LONGEST))
        except OSError:
            return None
        finally:
            os.close(file)
        return self._last


def reported(home: Path) -> Path:
    """The file's path for the run's programs, below its home."""
    return home / _NAME
