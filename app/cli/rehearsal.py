"""Fill a class with simulated learners, so that an instructor can try everything the evening before."""

import signal
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn, Self

import anyio
import httpx
from anyio.from_thread import start_blocking_portal

from app.cli.common import shelf_of
from app.cli.learner import Browser, SimulatedLearner
from app.course import Lesson
from app.settings import Settings


class Rehearsal:
    """A class of its own in a temporary folder, with ``number`` simulated learners.

    Use it as a context manager; ``settings`` are those to serve with.
    """

    def __init__(self, settings: Settings, number: int) -> None:
        self.settings = settings
        self._number = number
        self._stack = ExitStack()
        self._learners: Future[None] | None = None

    def __enter__(self) -> Self:
        # uvicorn raises the signal that ended it once more, and by default that would skip the removal.
        signal.signal(signal.SIGTERM, _exit)
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="playground-rehearsal-")))
        self.settings = self.settings.model_copy(update={"data_dir": folder})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._learners:
            self._learners.cancel()
        self._stack.close()

    def begin(self, port: int, code: str) -> None:
        """Let the learners come. The port is open, so the first ones wait until the server answers."""
        print(f"Rehearsal with {self._number} simulated learners; nothing of it is kept.", flush=True)
        lessons = [lesson for lesson in shelf_of(self.settings).default.lessons if not lesson.needs]
        base = f"http://127.0.0.1:{port}{self.settings.root_path}"
        portal = self._stack.enter_context(start_blocking_portal())
        self._learners = portal.start_task_soon(_attend, base, self._number, lessons, code)


async def _attend(base: str, number: int, lessons: Sequence[Lesson], code: str) -> None:
    async with anyio.create_task_group() as room:
        for each in range(number):
            room.start_soon(_live, base, each, lessons, code)


async def _live(base: str, number: int, lessons: Sequence[Lesson], code: str) -> None:
    """Be one learner until cancelled, or until the server goes."""
    with suppress(httpx.HTTPError):
        async with Browser(base) as browser:
            learner = SimulatedLearner(browser, number, skill=(number % 5 + 1) / 6)
            await learner.join(code)
            await learner.live(lessons)


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
