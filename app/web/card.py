"""Prepare a binary's card for the page: the shares of a bar, code under its source lines, differences in words."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from app.binary.differences import CardDifferences, Change, by_kind, compared
from app.binary.model import Card, Instruction
from app.course import Lesson
from app.engine import ArtifactDetails
from app.web.words import CARD_PARTS, SECTION_KINDS, compared_with

_WIDTH = 1000
"""The width of a whole bar, in units of the drawing."""
_LEAST = 3
"""The least visible width."""


@dataclass(frozen=True)
class Share:
    """A part of a bar; ``start`` and ``width`` are in thousandths of the bar."""

    kind: str
    title: str
    bytes: int
    start: float
    width: float


@dataclass(frozen=True)
class Passage:
    """The instructions of one source line; ``text`` is that line if its source is known."""

    place: str | None
    text: str | None
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True)
class Difference:
    """The changes since an earlier binary, which was built in ``lesson``; ``here``: that is the current lesson."""

    lesson: Lesson
    here: bool
    seen: CardDifferences

    @property
    def rows(self) -> tuple[Change, ...]:
        """The changes, with the same titles for kinds of sections as in the bar."""
        return tuple(
            replace(one, what=SECTION_KINDS.get(one.what.removeprefix("bytes of "), one.what)) if one.more else one
            for one in self.seen.changes
        )


@dataclass(frozen=True)
class View:
    """Everything that the template shows besides the card. ``fraction``: its size compared with the std program's."""

    shares: tuple[Share, ...]
    of_std: float
    fraction: str
    passages: tuple[Passage, ...]
    differences: tuple[Difference, ...]
    unread: str


def view(inside: ArtifactDetails, lesson_of: Callable[[str, str], Lesson]) -> View:
    """Prepare a card for the template; ``lesson_of`` returns the lesson of a slug and a course."""
    card = inside.card
    std = inside.std.bytes if inside.std else 0
    return View(
        shares=tuple(shares(card)),
        of_std=max(min(_WIDTH * card.bytes / std, _WIDTH), _LEAST) if std else 0,
        fraction=compared_with(card.bytes, std),
        passages=tuple(_passages(card.code.instructions if card.code else (), inside.job.files)),
        differences=tuple(
            Difference(
                lesson_of(one.lesson, one.course),
                (one.course, one.lesson) == (inside.job.course, inside.job.lesson),
                compared(one.card, card),
            )
            for one in inside.earlier
        ),
        unread=", ".join(CARD_PARTS.get(part, part) for part in card.unread),
    )


def shares(card: Card) -> Iterator[Share]:
    """Yield the shares of the file's bytes by purpose, from left to right."""
    sizes = by_kind(card)
    whole = max(sizes.total(), 1)
    # Parts too narrow to be visible are widened, and the others shrink, so that the bar keeps its length.
    narrow = [kind for kind in SECTION_KINDS if 0 < _WIDTH * sizes[kind] / whole < _LEAST]
    scale = (_WIDTH - _LEAST * len(narrow)) / max(whole - sum(sizes[kind] for kind in narrow), 1)
    start = 0.0
    for kind, title in SECTION_KINDS.items():
        if sizes[kind]:
            width = _LEAST if kind in narrow else sizes[kind] * scale
            yield Share(kind, title, sizes[kind], round(start, 1), round(width, 1))
            start += width


def _passages(instructions: Sequence[Instruction], files: Mapping[str, str]) -> Iterator[Passage]:
    for (file, line), group in groupby(instructions, key=lambda one: (one.file, one.line)):
        place = f"{file}:{line}" if file and line else None
        lines = files.get(file or "", "").splitlines()
        text = lines[line - 1].strip() if line and line <= len(lines) else None
        yield Passage(place, text, tuple(group))
