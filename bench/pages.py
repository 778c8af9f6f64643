"""The pages of a class as others see them: the instructor's, followed over its stream, and the learners' strips."""

import re
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Self

import anyio

from app.cli.learner import Browser

PATIENCE = 60.0
"""Seconds after which an update counts as lost."""
_ROW = re.compile(r'id="seat-(\d+)".*?<bdi>(.*?)</bdi>(.*?)</span>')
_STREAM = re.compile(r'data-updates="([^"]+)"')


@dataclass
class News:
    """Something that changes, to be waited for."""

    _changed: anyio.Event = field(default_factory=anyio.Event)

    def changed(self) -> None:
        """Wake those who wait."""
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; raises ``TimeoutError``."""
        with anyio.fail_after(PATIENCE):
            while not condition():
                await self._changed.wait()


class InstructorPages(News):
    """The instructor's page and the wall, followed as a browser does.

    ``numbers`` are the learners' by name. ``largest`` is the largest message in bytes.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.numbers: dict[str, int] = {}
        self._hands: set[int] = set()
        self.largest = 0
        self._browser = Browser(url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._browser.__aexit__()

    def sees_hand(self, number: int, *, raised: bool) -> bool:
        """Return True if the page shows that learner's hand as raised, or as lowered."""
        return (number in self._hands) == raised

    async def post(self, path: str, **form: str) -> None:
        """Post one of the instructor's forms; raises ``httpx.HTTPError`` if it is refused."""
        answer = await self._browser.post(path, form, by_htmx=False)
        if not answer.has_redirect_location:
            answer.raise_for_status()

    async def follow(self, path: str) -> None:
        """Open a page and follow its stream until cancelled; raises ``EOFError`` when it ends."""
        page = await self._browser.get(path)
        self._read(page)
        [stream] = _STREAM.findall(page)
        async with aclosing(self._browser.messages(stream)) as messages:
            async for message in messages:
                self.largest = max(self.largest, len(message.encode()))
                self._read(message)
        raise EOFError(f"the stream of {path} ended")

    def _read(self, html: str) -> None:
        for number, name, marks in _ROW.findall(html):
            self.numbers[name] = int(number)
            (self._hands.add if ">hand<" in marks else self._hands.discard)(int(number))
        self.changed()


class Strips(News):
    """The strips of the class that learners saw last, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[str, str] = {}

    def see(self, name: str, strip: str) -> None:
        """Note a learner's strip."""
        self.of[name] = strip
        self.changed()
