"""Fill a class with simulated learners, so that an instructor can try everything the evening before."""

import random
import signal
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from http.cookiejar import CookieJar
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn, Self
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, build_opener

from app.cli.common import shelf_of
from app.course import Lesson
from app.settings import Settings

_NAMES = (
    *("Ada", "Grace", "Linus", "Barbara", "Edsger", "Margaret", "Dennis", "Radia", "Ken", "Frances", "Niklaus"),
    *("Sophie", "Alan", "Hedy", "Donald", "Katherine", "Tony", "Adele", "Bjarne", "Mary", "Guido", "Joan"),
)
_TIMEOUT = 60
_THINKS = (4.0, 25.0)
"""Seconds between two actions, at least and at most."""


class SimulatedLearner:
    """A browser without scripts: it joins the class, reads, predicts, runs, opens hints, and raises its hand.

    ``skill`` from 0 to 1 is how often a run has the solution's files instead of those of the step. The same ``number``
    does the same things. ``base`` is the playground's URL without a slash at its end.
    """

    def __init__(self, base: str, number: int, lessons: Sequence[Lesson], skill: float = 0.5, code: str = "") -> None:
        self._base = base
        self._code = code
        self._lessons = lessons
        self._skill = skill
        self._random = random.Random(number)  # noqa: S311  (no secret)
        self.name = f"{_NAMES[number % len(_NAMES)]} {number + 1}"
        self._opener: OpenerDirector = build_opener(HTTPCookieProcessor(CookieJar()))

    def join(self) -> None:
        """Get a seat from the course map, and join the class; raises ``OSError``."""
        self.get("/")
        self.post("/class/join", {"name": self.name, "code": self._code})

    def open(self, lesson: Lesson) -> None:
        """Read a step, and answer its question; raises ``OSError``."""
        self.get(lesson.address)
        if lesson.prediction:
            self.post(f"{lesson.address}/predict", {"choice": self._random.choice(lesson.prediction.option).id})

    def try_once(self, lesson: Lesson) -> bool:
        """Run the step once and wait for the end; return True if its goal was to be reached. Raises ``OSError``."""
        able = self._random.random() < self._skill
        files = lesson.solution if able else lesson.files
        form = {f"file:{path}": files[path] for path in lesson.editable}
        self.post(f"{lesson.address}/runs", {**form, "command": lesson.commands[0]})
        return able

    def get(self, path: str) -> str:
        """Return a page; raises ``OSError``."""
        return self._text(path, None)

    def post(self, path: str, form: Mapping[str, str]) -> str:
        """Post a form and return the page that it leads to; raises ``OSError``."""
        return self._text(path, urlencode(form).encode())

    def live(self, ended: threading.Event) -> None:
        """Go through the course until ``ended``, with time to think between two actions; stops if the server goes."""
        try:
            self.join()
            self._think(ended)
            for lesson in self._lessons:
                self._take(lesson, ended)
                if ended.is_set():
                    return
        except (OSError, URLError):
            return

    def _take(self, lesson: Lesson, ended: threading.Event) -> None:
        self.open(lesson)
        opened = 0
        while not ended.is_set():
            self._think(ended)
            if self.try_once(lesson):
                return
            self.get(f"/class/strip?at={lesson.key}")
            if opened < len(lesson.hints) and self._random.random() < 0.3:
                opened += 1
                self.post(f"{lesson.address}/hints", {"choice": str(opened)})
            elif self._random.random() < 0.1:
                self.post("/class/hand", {"raised": "1", "at": lesson.key})

    def _think(self, ended: threading.Event) -> None:
        ended.wait(self._random.uniform(*_THINKS))

    def _text(self, path: str, body: bytes | None) -> str:
        with self._opener.open(f"{self._base}{path}", body, timeout=_TIMEOUT) as answer:
            text: bytes = answer.read()
        return text.decode("utf-8", "replace")


class Rehearsal:
    """A class of its own in a temporary folder, with ``number`` simulated learners; with 0, the real class.

    Use it as a context manager; ``settings`` are those to serve with.
    """

    def __init__(self, settings: Settings, number: int) -> None:
        self.settings = settings
        self._number = number
        self._stack = ExitStack()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        if self._number:
            # uvicorn raises the signal that ended it once more, and by default that would skip the removal.
            signal.signal(signal.SIGTERM, _exit)
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="playground-rehearsal-")))
            self.settings = self.settings.model_copy(update={"data_dir": folder})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._stack.close()

    def begin(self, port: int, code: str) -> None:
        """Let the learners come. The port is open, so the first ones wait until the server answers."""
        if not self._number:
            return
        print(f"Rehearsal with {self._number} simulated learners; nothing of it is kept.", flush=True)
        lessons = [lesson for lesson in shelf_of(self.settings).default.lessons if not lesson.needs]
        base = f"http://127.0.0.1:{port}{self.settings.root_path}"
        for number in range(self._number):
            skill = (number % 5 + 1) / 6
            learner = SimulatedLearner(base, number, lessons, skill, code)
            threading.Thread(target=learner.live, args=(self._ended,), daemon=True).start()


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
