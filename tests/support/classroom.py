"""A real ``playground class`` with its instructor's link, and learners over HTTP."""

import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from playwright.sync_api import Page, expect
from typer.testing import CliRunner, Result

from app.cli import cli
from app.course import Lesson, load_shelf
from app.progress import Progress, RoomStore, Try
from app.settings import Settings
from app.web.classroom import FIRST
from tests.support.server import Server, serving

NAMES = ("Otter", "Ida", "Björn", "Mei", "Tomás", "Aisha", "", "Lukas", "Noor", "Jan", "Chloé", "Emil", "Sana", "Petra")


@dataclass(frozen=True)
class ClassServer:
    """A server that holds a class; ``link`` is the instructor's, ``printed`` is what the command printed."""

    server: Server
    link: str
    printed: str

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def key(self) -> str:
        return self.link.partition("#")[2]


@contextmanager
def holding(data_dir: Path, *arguments: str, **variables: str) -> Iterator[ClassServer]:
    """Hold a class on a free port, as ``playground class`` with these arguments does."""
    words = ("class", "--port", "0", "--address", "127.0.0.1", *arguments)
    with serving(data_dir, None, words, **variables) as server:
        printed = server.printed
        assert server.process.stdout is not None
        while not (found := re.search(r"Instructor:\s+(\S+)", printed)):
            line = server.process.stdout.readline()
            assert line, f"the class did not begin but said {printed!r}"
            printed += line
        yield ClassServer(server, found[1], printed)


def entered(page: Page, held: ClassServer) -> None:
    """Open the instructor's link as a person does who has opened the page without its key before."""
    page.goto(held.link.partition("#")[0])
    page.goto(held.link)
    expect(page.locator("#class-figures")).to_be_visible()
    page.wait_for_load_state()  # until then its scripts may not have run
    assert held.key not in page.url


def playground(data_dir: Path, *arguments: str) -> Result:
    """Run ``playground class …`` on the data of a class, beside its server."""
    return CliRunner().invoke(cli, ["class", *arguments], env={"PLAYGROUND_DATA_DIR": str(data_dir)})


async def open_class(data_dir: Path, address: str, key: str) -> None:
    """Open a class with that address for learners and that key for the instructor, beside a server that runs."""
    progress, now = Progress(data_dir / "progress.sqlite3"), time.time()
    await progress.room.open(now, {"address": address})
    await progress.room.admit(FIRST, key, "", now)
    progress.close()


async def fill(data_dir: Path, lessons: Sequence[Lesson]) -> None:
    """Store a class of fourteen in the middle of its fourth step, some of whom are stuck."""
    progress, now = Progress(data_dir / "progress.sqlite3"), time.time()
    room = progress.room
    await room.open(now - 3600, {"name": "Rust in November", "step": "panic-handler", "timer": str(now + 540)})
    for number, name in enumerate(NAMES):
        seat = f"{number:032}"
        await room.join(seat, name, now)
        for lesson in lessons[: 2 + number % 3]:
            await _tried(room, seat, lesson.key, now - 1500, reached=True)
        at = lessons[2 + number % 3]
        error = "panic-handler-missing" if number % 4 else "start-lang-item"
        for tries in range(number % 5):
            await _tried(room, seat, at.key, now - 50 * (5 - tries) - 10, error)
        await room.visit(seat, "", now)
        await room.visit(seat, at.key, now - 60 * (number % 9) - 30)
        await room.saw([(seat, now)] if number % 13 else [(seat, now - 400)])
        if at.prediction:
            await progress.guides.predict(seat, at.key, at.prediction.option[number % 2].id)
        await progress.guides.open(seat, at.key, number % 3)
    for number in (6, 9):
        await room.hand(f"{number:032}", now - number)
    progress.close()


async def _tried(
    room: RoomStore, seat: str, lesson: str, at: float, error: str | None = None, *, reached: bool = False
) -> None:
    status = "ok" if reached else "failed"
    await room.add(seat, Try("freestanding-rust-binary", "0", lesson, at, reached, status, error, (), 0.3))


def shown(path: str, *, slide: str = "") -> Callable[[Page, str], None]:
    """Return a state in which an instructor sees that page of a filled class, which ends when the page closes."""

    def state(page: Page, _server: str) -> None:
        stack = ExitStack()
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="playground-test-"))) / "data"
        data.mkdir()
        lessons = load_shelf(Settings().lessons_dir).default.lessons
        with ThreadPoolExecutor(1) as pool:  # Playwright's own loop runs in this thread
            pool.submit(anyio.run, fill, data, lessons).result()
        held = stack.enter_context(holding(data))
        page.once("close", lambda _: stack.close())
        entered(page, held)
        if slide:
            page.goto(f"{held.url}/class/step/panic-handler")
            page.locator(f"button[value^='{slide}']").first.click()
        page.goto(held.url + path)
        expect(page.locator("h1")).to_be_visible()

    return state
