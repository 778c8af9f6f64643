"""Convert terminal text to HTML, piece by piece: colours become classes, everything else escaped text.

A run's output comes in pieces that may end anywhere, even inside an escape sequence or between two that belong
together, so a ``Terminal`` keeps its state between them. The pages' content security policy allows no inline style. So
a colour is the class of its SGR code (``sgr-31``), and the style sheet defines it for light and dark. Only SGR
sequences have an effect; all other escape sequences are dropped.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import pairwise

from markupsafe import Markup, escape

# Show a longer sequence as text. Otherwise a program that opens one and never closes it could hide all further output,
# and we would hold back ever more of it.
_LONGEST = 1024

# Regular expressions do the scanning, because output that consists only of sequences must be cheap too.
_COLOURS = re.compile(rf"((?:\x1b\[[0-9;:]{{0,{_LONGEST}}}m)+)")
_OTHER = re.compile(
    rf"""
      \x1b (?:
          \[ [0-?]{{0,{_LONGEST}}} [ -/]{{0,8}} [@-~]
        | [\]PX^_] [^\x07\x1b\n]{{0,{_LONGEST}}} (?: \x07 | \x1b\\ )
        | [ -/]{{1,8}} [0-~]
        | [0-OQ-WYZ\\`-~]
      )
    """,
    re.VERBOSE,
)
# Text that may become one of the above when more text comes.
_UNFINISHED = re.compile(
    rf"""
      \x1b (?:
          \[ [0-?]{{0,{_LONGEST}}} [ -/]{{0,8}}
        | [\]PX^_] [^\x07\x1b\n]{{0,{_LONGEST}}} \x1b?
        | [ -/]{{0,8}}
      ) \Z
    """,
    re.VERBOSE,
)
_LONGEST_UNFINISHED = _LONGEST + 16
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Control characters are shown as their Unicode pictures. An escape that opens no sequence is dropped. A lone carriage
# return starts a new line, so that it does not hide what was printed before.
_PICTURES: dict[int, str] = (
    {code: chr(0x2400 + code) for code in range(0x20)}
    | {ord("\t"): "\t", ord("\n"): "\n", ord("\r"): "\n", 0x1B: "", 0x7F: "\u2421"}
    | dict.fromkeys(range(0x80, 0xA0), "\ufffd")
)
_BLOCK = 100  # lines; the style sheet contains the height of such a block, for blocks out of view
_LINES = re.compile(rf"(?:[^\n]*\n){{1,{_BLOCK}}}")
_BETWEEN = Markup("<span>{}</span>")
_FEWER = Markup('<div class="lines">{}</div>')
_FULL = Markup('<div class="lines many">{}</div>')
_CLOSING = Markup("</span>")


# The aspects that are on, each with the SGR code that switched it on, which is also its class.
_Style = tuple[tuple[str, int], ...]
_Run = tuple[_Style, str]
_ASPECTS = (
    {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike"}
    | dict.fromkeys((*range(30, 38), *range(90, 98)), "ink")
    | dict.fromkeys((*range(40, 48), *range(100, 108)), "ground")
)
_OFF = {
    22: ("bold", "dim"),
    23: ("italic",),
    24: ("underline",),
    27: ("inverse",),
    29: ("strike",),
    39: ("ink",),
    49: ("ground",),
}


class Terminal:
    """Convert the text of one run. State that one call leaves open carries over to the next.

    ``link`` escapes text and may turn parts of it into links.
    """

    def __init__(self, link: Callable[[str], Markup] = escape) -> None:
        self.link = link
        self._style: _Style = ()
        self._unfinished = ""
        self._within_line = False

    def feed(self, text: str) -> Markup:
        """Return the HTML of the next piece, with every element closed."""
        return self._html(self._runs(text))

    def lines(self, text: str) -> Markup:
        """Return the HTML of the next piece with whole lines in blocks, which a browser lays out only once.

        Text that continues a line, or does not end one, is between the blocks.
        """
        within = self._within_line
        runs = list(self._runs(text))
        shown = "".join(text for _, text in runs)
        opening = shown.find("\n") + 1 if within else 0
        whole = _LINES.finditer(shown, opening, shown.rfind("\n") + 1)
        ends = [opening, *(found.end() for found in whole), len(shown)]
        kinds = [_BETWEEN, *(_kind(shown[begin:end]) for begin, end in pairwise(ends))]
        parts = zip(kinds, _cut(runs, ends), strict=True)
        return Markup().join([kind.format(self._html(part)) for kind, part in parts if part])

    def plain(self, text: str) -> str:
        """Return the text of the next piece without its colours."""
        return "".join(shown for _, shown in self._runs(text))

    def _runs(self, text: str) -> Iterator[_Run]:
        """Yield the visible text in runs of one style."""
        run, current = "", self._style
        for style, shown in self._pieces(text):
            if style != current and run:
                yield current, run
                run = ""
            current = style
            run += shown
        if run:
            yield current, run

    def _pieces(self, text: str) -> Iterator[_Run]:
        for number, piece in enumerate(_COLOURS.split(self._ready(text))):
            if number % 2:
                for codes in piece[2:-1].split("m\x1b["):
                    self._style = _apply(self._style, codes)
            elif shown := _shown(piece):
                self._within_line = not shown.endswith("\n")
                yield self._style, shown

    def _ready(self, text: str) -> str:
        """Return the text up to a sequence that the next piece may complete."""
        text = self._unfinished + text
        end = len(text) - text.endswith("\r")
        unfinished = _UNFINISHED.search(text[:end], max(0, end - _LONGEST_UNFINISHED))
        end = unfinished.start() if unfinished else end
        self._unfinished = text[end:]
        return text[:end]

    def _html(self, runs: Iterable[_Run]) -> Markup:
        parts: list[Markup] = []
        for style, text in runs:
            parts += (_opening(style), self.link(text), _CLOSING) if style else (self.link(text),)
        return Markup().join(parts)


def strip(text: str) -> str:
    """Return the text without its escape sequences."""
    return "".join(_shown(piece) for piece in _COLOURS.split(text)[::2])


def _shown(piece: str) -> str:
    """Return the visible part of text without colours."""
    if not _CONTROL.search(piece):
        return piece
    piece = piece.replace("\r\n", "\n")
    if "\x1b" in piece:
        piece = _OTHER.sub("", piece)
    return piece.translate(_PICTURES)


def _kind(text: str) -> Markup:
    if not text.endswith("\n"):
        return _BETWEEN
    return _FULL if text.count("\n") == _BLOCK else _FEWER


def _cut(runs: Iterable[_Run], ends: Iterable[int]) -> Iterator[list[_Run]]:
    """Yield the runs up to each of the positions ``ends`` in their text; the last position is the text's end."""
    rest = iter(runs)
    style, text = next(rest, ((), ""))
    begin = 0
    for end in ends:
        part: list[_Run] = []
        while len(text) < end - begin:
            part.append((style, text))
            begin += len(text)
            style, text = next(rest)
        if end > begin:
            part.append((style, text[: end - begin]))
        text = text[end - begin :]
        begin = end
        yield part


@lru_cache(maxsize=1024)
def _opening(style: _Style) -> Markup:
    return Markup('<span class="{}">').format(" ".join(f"sgr-{code}" for _, code in style))


@lru_cache(maxsize=1024)
def _apply(style: _Style, codes: str) -> _Style:
    """Return the style after one SGR sequence; unknown codes have no effect."""
    numbers = [int(code[:6] or 0) for code in re.split("[;:]", codes)]
    on = dict(style)
    while numbers:
        code = numbers.pop(0)
        if code in (38, 48):
            code = _extended(numbers, code - 38)
        if code == 0:
            on = {}
        elif code in _ASPECTS:
            on[_ASPECTS[code]] = code
        elif code in _OFF:
            on = {aspect: each for aspect, each in on.items() if aspect not in _OFF[code]}
    return tuple(on.items())


def _extended(numbers: list[int], offset: int) -> int:
    """Remove the colour ``5;n`` or ``2;r;g;b`` from the front of ``numbers`` and return its code; -1 if malformed.

    Other colours than the basic sixteen become the nearest of those, whose contrast is checked in light and dark.
    """
    notation = numbers.pop(0) if numbers else None
    if notation == 5 and numbers:
        colour = _of_256(numbers.pop(0))
    elif notation == 2 and len(numbers) >= 3:
        colour = _nearest(*numbers[:3])
        del numbers[:3]
    else:
        return -1
    return offset + (30 + colour if colour < 8 else 82 + colour)


def _of_256(number: int) -> int:
    """Return the nearest of the sixteen colours for a number of the 256-colour palette."""
    if number < 16:
        return number
    if number < 232:
        steps = number - 16
        return _nearest(*(55 + 40 * step if step else 0 for step in (steps // 36, steps // 6 % 6, steps % 6)))
    return _nearest(*[8 + 10 * (number - 232)] * 3)


@lru_cache(maxsize=4096)
def _nearest(red: int, green: int, blue: int) -> int:
    distances = [(red - r) ** 2 + (green - g) ** 2 + (blue - b) ** 2 for r, g, b in _RGB]
    return distances.index(min(distances))


_RGB = (
    *((0, 0, 0), (170, 0, 0), (0, 170, 0), (170, 85, 0), (0, 0, 170), (170, 0, 170), (0, 170, 170), (170, 170, 170)),
    *((85, 85, 85), (255, 85, 85), (85, 255, 85), (255, 255, 85)),
    *((85, 85, 255), (255, 85, 255), (85, 255, 255), (255, 255, 255)),
)
