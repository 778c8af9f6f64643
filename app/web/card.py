"""The card of a binary as the page draws it: shares of a bar, code under its source lines, differences in words."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from app.binary.differences import CardDifferences, Change, by_kind, compared
from app.binary.model import Card, Instruction
from app.course import Lesson
from app.engine import ArtifactDetails

_WIDTH = 1000
"""Units that a whole bar is wide."""
_LEAST = 3
"""What can still be seen."""
_KINDS = {
    "code": "machine code",
    "constants": "constants",
    "data": "variables",
    "loader": "tables for the loader",
    "names": "names",
    "debug": "debug information",
    "other": "headers and gaps",
}
_UNREAD = {
    "sections": "the sections",
    "symbols": "the names",
    "code": "the code",
    "lines": "the lines of the source",
    "calls": "who calls whom",
}


@dataclass(frozen=True)
class Share:
    """A part of a bar: where it begins and how wide it is, in units of which a bar has a thousand."""

    kind: str
    title: str
    bytes: int
    start: float
    width: float


@dataclass(frozen=True)
class Passage:
    """Instructions of one source line; ``text`` is the line where the source is known."""

    place: str | None
    text: str | None
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True)
class Difference:
    """The changes since an earlier binary, which came of ``lesson``; ``here``: the same one."""

    lesson: Lesson
    here: bool
    seen: CardDifferences

    @property
    def rows(self) -> tuple[Change, ...]:
        """The changes under the names that the bar gives its parts."""
        return tuple(
            replace(one, what=_KINDS.get(one.what.removeprefix("bytes of "), one.what)) if one.more else one
            for one in self.seen.changes
        )


@dataclass(frozen=True)
class View:
    """All that the template shows beside the card itself. ``fraction``: how often it fits into the std program."""

    shares: tuple[Share, ...]
    of_std: float
    fraction: str
    passages: tuple[Passage, ...]
    differences: tuple[Difference, ...]
    unread: str


def view(inside: ArtifactDetails, lesson_of: Callable[[str, str], Lesson]) -> View:
    """The card, ready to be drawn; ``lesson_of`` finds the lesson of a slug and a course."""
    card = inside.card
    std = inside.std.bytes if inside.std else 0
    return View(
        shares=tuple(shares(card)),
        of_std=max(min(_WIDTH * card.bytes / std, _WIDTH), _LEAST) if std else 0,
        fraction=_fraction(card.bytes, std),
        passages=tuple(_passages(card.code.instructions if card.code else (), inside.job.files)),
        differences=tuple(
            Difference(
                lesson_of(one.lesson, one.course),
                (one.course, one.lesson) == (inside.job.course, inside.job.lesson),
                compared(one.card, card),
            )
            for one in inside.earlier
        ),
        unread=", ".join(_UNREAD.get(part, part) for part in card.unread),
    )


def shares(card: Card) -> Iterator[Share]:
    """The bytes of the file by what they are for, side by side."""
    sizes = by_kind(card)
    whole = max(sizes.total(), 1)
    # What is too narrow to be seen is widened; the others give way, so that the bar stays as long as it is.
    narrow = [kind for kind in _KINDS if 0 < _WIDTH * sizes[kind] / whole < _LEAST]
    scale = (_WIDTH - _LEAST * len(narrow)) / max(whole - sum(sizes[kind] for kind in narrow), 1)
    start = 0.0
    for kind, title in _KINDS.items():
        if sizes[kind]:
            width = _LEAST if kind in narrow else sizes[kind] * scale
            yield Share(kind, title, sizes[kind], round(start, 1), round(width, 1))
            start += width


def _fraction(size: int, std: int) -> str:
    if not std or not size:
        return ""
    if size > 0.8 * std:
        return "about as large as" if size < 1.25 * std else "larger than"
    return f"{size / std:.0%} of" if size > 0.1 * std else f"1/{round(std / size):,} of"


def _passages(instructions: Sequence[Instruction], files: Mapping[str, str]) -> Iterator[Passage]:
    for (file, line), group in groupby(instructions, key=lambda one: (one.file, one.line)):
        place = f"{file}:{line}" if file and line else None
        lines = files.get(file or "", "").splitlines()
        text = lines[line - 1].strip() if line and line <= len(lines) else None
        yield Passage(place, text, tuple(group))
