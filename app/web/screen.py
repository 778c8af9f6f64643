"""A PC's text screen as runs of characters that share their colours: what a template writes as one element each."""

from dataclasses import dataclass
from itertools import groupby

from app.protocol.events import Screen


@dataclass(frozen=True)
class Piece:
    """Text in one colour on another; both are digits of the PC, 0 to f."""

    text: str
    ink: str
    ground: str


def rows(screen: Screen) -> list[list[Piece]]:
    """The pieces of each row."""
    return [_pieces(text, colors) for text, colors in zip(screen.text, screen.colors, strict=True)]


def _pieces(text: str, colors: str) -> list[Piece]:
    cells = [(colors[2 * at : 2 * at + 2], character) for at, character in enumerate(text)]
    grouped = groupby(cells, key=lambda cell: cell[0])
    return [Piece("".join(character for _, character in group), color[1], color[0]) for color, group in grouped]
