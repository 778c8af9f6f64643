"""Terminal text becomes HTML, chunk by chunk: colours as classes, everything else as escaped text.

A run's output comes in pieces that may end anywhere, also inside an escape sequence or between two
that belong together, so a ``Terminal`` remembers where it stands. The policy of the pages allows no
inline style: a colour is the class of its SGR code (``sgr-31``), and the style sheet says what it is in
light and in dark. Only SGR sequences have an effect; any other escape sequence is dropped.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import pairwise

from markupsafe import Markup, escape

# A sequence that is longer than this is no sequence: its text is shown, so that a program that opens one
# and never closes it cannot hide what follows (nor make us hold back ever more).
_LONGEST = 1024

# The regular expressions do the walking: what a program prints may be all sequences, and must cost little.
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
# What may still become one of the above when more text comes.
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
# Control characters are shown as their Unicode pictures. An escape that opens no sequence shows nothing; a lone
# carriage return starts a line, so that nothing that was printed is lost.
_PICTURES: dict[int, str] = (
    {code: chr(0x2400 + code) for code in range(0x20)}
    | {ord("\t"): "\t", ord("\n"): "\n", ord("\r"): "\n", 0x1B: "", 0x7F: "\u2421"}
    | dict.fromkeys(range(0x80, 0xA0), "\ufffd")
)
_BLOCK = 100  # lines; the style sheet knows the number, as the height of a block that is not drawn
_LINES = re.compile(rf"(?:[^\n]*\n){{1,{_BLOCK}}}")
_BETWEEN = Markup("<span>{}</span>")
_FEWER = Markup('<div class="lines">{}</div>')
_FULL = Markup('<div class="lines many">{}</div>')
_CLOSING = Markup("</span>")


# What is switched on: each aspect with the SGR code that did it, which is also its class.
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
    """Converts the text of one run; what one call leaves open, the next one closes.

    ``link`` escapes text, and may make links of what it finds in it.
    """

    def __init__(self, link: Callable[[str], Markup] = escape) -> None:
        self.link = link
        self._style: _Style = ()
        self._held = ""
        self._within_line = False

    def feed(self, text: str) -> Markup:
        """The HTML of the next piece; complete in itself, every element closed."""
        return self._html(self._runs(text))

    def lines(self, text: str) -> Markup:
        """The same with whole lines in blocks, which a browser lays out once and not again with each piece that comes.

        What goes on with a line, or does not end it, stands between the blocks.
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
        """The text of the next piece without its colours."""
        return "".join(shown for _, shown in self._runs(text))

    def _runs(self, text: str) -> Iterator[_Run]:
        """The text that is shown, in runs of one style."""
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
        """All but the end that the next piece may go on with."""
        text = self._held + text
        end = len(text) - text.endswith("\r")
        unfinished = _UNFINISHED.search(text[:end], max(0, end - _LONGEST_UNFINISHED))
        end = unfinished.start() if unfinished else end
        self._held = text[end:]
        return text[:end]

    def _html(self, runs: Iterable[_Run]) -> Markup:
        parts: list[Markup] = []
        for style, text in runs:
            parts += (_opening(style), self.link(text), _CLOSING) if style else (self.link(text),)
        return Markup().join(parts)


def strip(text: str) -> str:
    """The text without its escape sequences."""
    return "".join(_shown(piece) for piece in _COLOURS.split(text)[::2])


def _shown(piece: str) -> str:
    """What is seen of text that has no colours in it."""
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
    """The runs up to each of these places in their text, of which the last is its end."""
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
    """The style after one SGR sequence; a code that is unknown changes nothing."""
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
    """The code of the colour ``5;n`` or ``2;r;g;b``, taken off the front of ``numbers``; -1 when it is none.

    Colours beyond the sixteen become the nearest of them: those are checked for contrast in light and dark.
    """
    kind = numbers.pop(0) if numbers else None
    if kind == 5 and numbers:
        colour = _of_256(numbers.pop(0))
    elif kind == 2 and len(numbers) >= 3:
        colour = _nearest(*numbers[:3])
        del numbers[:3]
    else:
        return -1
    return offset + (30 + colour if colour < 8 else 82 + colour)


def _of_256(number: int) -> int:
    if number < 16:
        return number
    if number < 232:
        steps = number - 16
        return _nearest(*(55 + 40 * step if step else 0 for step in (steps // 36, steps // 6 % 6, steps % 6)))
    return _nearest(*[8 + 10 * (number - 232)] * 3)


@lru_cache(maxsize=4096)
def _nearest(red: int, green: int, blue: int) -> int:
    far = [(red - r) ** 2 + (green - g) ** 2 + (blue - b) ** 2 for r, g, b in _RGB]
    return far.index(min(far))


_RGB = (
    *((0, 0, 0), (170, 0, 0), (0, 170, 0), (170, 85, 0), (0, 0, 170), (170, 0, 170), (0, 170, 170), (170, 170, 170)),
    *((85, 85, 85), (255, 85, 85), (85, 255, 85), (255, 255, 85)),
    *((85, 85, 255), (255, 85, 255), (85, 255, 255), (255, 255, 255)),
)
