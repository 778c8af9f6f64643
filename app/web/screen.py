"""Split a PC's text screen into runs of characters with the same colours, one element each in the template."""

from dataclasses import dataclass
from itertools import groupby

from app.protocol.events import Screen


@dataclass(frozen=True)
class Piece:
    """Text with its foreground and background colour, each a hexadecimal digit of the PC's palette."""

    text: str
    ink: str
    ground: str


def rows(screen: Screen) -> list[list[Piece]]:
    """Return the pieces of each row."""
    found: list[list[Piece]] = []
    for text, colors in zip(screen.text, screen.colors, strict=True):
        cells = [(colors[2 * at : 2 * at + 2], character) for at, character in enumerate(text)]
        groups = groupby(cells, key=lambda cell: cell[0])
        found.append([Piece("".join(each for _, each in group), color[1], color[0]) for color, group in groups])
    return found
