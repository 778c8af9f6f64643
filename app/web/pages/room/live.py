"""Keep an instructor's pages up to date: draw a page in pieces, and send those that have changed.

A whole class of a hundred learners is more than 30 KB. From one second to the next, only a few rows change.
"""

import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from fastapi import Depends, Request
from markupsafe import Markup, escape

from app.room.model import ClassState
from app.room.view import Cell, Outline, RoomView, Row, Sort, sorted_rows
from app.web.pages.common import playground_of
from app.web.pages.room.rights import instructor_of
from app.web.render import made, page
from app.web.sse import frame
from app.web.state import Playground
from app.web.words import class_news, figures

_MOST_PAGES = 64
_LARGEST_FRAME = 24 * 1024
_BEAT = frame("now", event="beat")
"""Sent when nothing has changed. A page that hears nothing for a while opens another stream."""
_MOST_HANDS = 20
"""Raised hands that the page lists. A hundred of them would cost more than 30 KB whenever one is raised or lowered."""


async def _counted(request: Request) -> AsyncIterator[None]:
    """Count one more stream until the answer has ended; a refusal must come before the answer begins."""
    with playground_of(request).streams.open("class", request.state.caller):
        yield


Counted = Annotated[None, Depends(_counted)]


@dataclass(frozen=True)
class ClassPage:
    """The choices of an instructor's page: the order of the rows, and the one step that they are at, if any."""

    sort: Sort
    step: Outline | None


@dataclass(frozen=True)
class _Shown:
    """The part of a row that the map shows."""

    number: int
    label: str
    here: bool
    stuck: bool
    hand: bool
    cells: tuple[Cell, ...]

    @classmethod
    def of(cls, row: Row) -> "_Shown":
        raised = row.member.hand is not None
        return cls(row.member.number, row.label, row.here, bool(row.reasons), raised, row.cells)


@lru_cache(maxsize=1024)
def _drawn(root: str, row: _Shown) -> Markup:
    """Draw a row of the map; of a hundred rows, a second changes only a few."""
    return made(page("_class_row.html", root=root, row=row))


@dataclass(frozen=True)
class Pieces:
    """The parts of the page that change: blocks by the id of their element, and the rows by their number."""

    blocks: Mapping[str, Markup]
    rows: Mapping[int, Markup]

    @classmethod
    def of(cls, home: Playground, shown: ClassPage, view: RoomView, queued: float | None = None) -> "Pieces":
        """Draw the class; ``queued`` is how many seconds its latest run had to wait."""
        known = {"root": home.root, "view": view, "titles": home.classroom.titles, "most_hands": _MOST_HANDS}
        rows = [row for row in sorted_rows(view.rows, shown.sort) if shown.step is None or row.step == shown.step]
        return cls(
            blocks={
                "class-figures": escape(figures(view.here, view.not_begun, view.stuck, len(view.hands), queued)),
                "class-news": escape(class_news(view.stuck, len(view.hands))),
                "class-cards": made(page("_class_cards.html", **known)),
                "class-hands": made(page("_class_hands.html", **known)),
            },
            rows={row.member.number: _drawn(home.root, _Shown.of(row)) for row in rows},
        )


class ClassPages:
    """The pages that were served last, so that their streams begin with what has changed since."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Pieces] = OrderedDict()

    def keep(self, pieces: Pieces) -> str:
        """Keep a page and return a token for it."""
        token = secrets.token_hex(8)
        self._kept[token] = pieces
        while len(self._kept) > _MOST_PAGES:
            self._kept.popitem(last=False)
        return token

    def take(self, token: str) -> Pieces | None:
        """Remove and return the page of that token; None if it is gone."""
        return self._kept.pop(token, None)


async def class_states(request: Request) -> AsyncIterator[ClassState]:
    """Yield the class whenever a page about it has to be drawn anew, until it ends or the instructor's key does."""
    classroom = playground_of(request).classroom
    async for _ in classroom.updates():
        state = await classroom.state()
        if state is None or await instructor_of(request) is None:
            return
        yield state


async def stream_element(
    request: Request, target: str, draw: Callable[[ClassState], Awaitable[Markup]]
) -> AsyncIterator[bytes]:
    """Stream the element ``target`` of a page: its content whenever that has changed, else a beat."""
    sent: Markup | None = None
    async for state in class_states(request):
        now = await draw(state)
        yield _BEAT if now == sent else frame(_partial(f"#{target}", "innerHTML", now))
        sent = now


def frames_of(sent: Pieces | None, now: Pieces) -> Iterator[bytes]:
    """Yield messages that turn one state of the page into the next; a beat if nothing has changed."""
    text = ""
    for each in _changes(sent, now):
        if text and len(text) + len(each) > _LARGEST_FRAME:
            yield frame(text)
            text = ""
        text += each
    yield frame(text) if text else _BEAT


def _changes(sent: Pieces | None, now: Pieces) -> Iterator[str]:
    before = sent or Pieces({}, {})
    for name, html in now.blocks.items():
        if before.blocks.get(name) != html:
            yield _partial(f"#{name}", "innerHTML", html)
    if sent is None:
        # All at once: the page may show other rows, and it would jump if it were shorter in between.
        yield _partial("#class-rows", "innerHTML", Markup().join(now.rows.values()))
        return
    for number in before.rows.keys() - now.rows.keys():
        yield _partial(f"#seat-{number}", "delete", Markup())
    for number, html in now.rows.items():
        if number not in before.rows:
            yield _partial("#class-rows", "beforeend", html)
        elif before.rows[number] != html:
            yield _partial(f"#seat-{number}", "outerHTML", html)


def _partial(target: str, swap: str, html: Markup) -> str:
    return Markup('<hx-partial hx-target="{}" hx-swap="{}">{}</hx-partial>').format(target, swap, html)
