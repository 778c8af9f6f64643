"""Terminal text becomes HTML, chunk by chunk: colours as classes, everything else as escaped text.

A run's output comes in pieces that may end anywhere, also inside an escape sequence or between two
that belong together, so a ``Terminal`` remembers where it stands. The policy of the pages allows no
inline style: a colour is the class of its SGR code (``sgr-31``), and the style sheet says what it is in
light and in dark. Only SGR sequences have an effect; any other escape sequence is dropped.
"""

import re
from collections.abc import Callable, Iterator

from markupsafe import Markup, escape

# A sequence that is longer than this is no sequence: its text is shown, so that a program that opens one
# and never closes it cannot hide what follows (nor make us hold back ever more).
_LONGEST = 1024

_TOKEN = re.compile(
    rf"""
      (?P<text>  [^\x00-\x08\x0b-\x1f\x7f-\x9f]+ )
    | (?P<line>  \r\n? )
    | (?P<sgr>   \x1b \[ (?P<codes> [0-9;:]{{0,{_LONGEST}}} ) m )
    | (?P<other> \x1b (?:
          \[ [0-?]{{0,{_LONGEST}}} [ -/]{{0,8}} [@-~]
        | [\]PX^_] [^\x07\x1b\n]{{0,{_LONGEST}}} (?: \x07 | \x1b\\ )
        | [ -/]{{1,8}} [0-~]
        | [0-OQ-WYZ\\`-~]
      ) )
    | (?P<control> [\x00-\x1f\x7f-\x9f] )
    """,
    re.VERBOSE,
)
# What may still become one of the above when more text comes.
_UNFINISHED = re.compile(
    rf"""
      \r
    | \x1b (?:
          \[ [0-?]{{0,{_LONGEST}}} [ -/]{{0,8}}
        | [\]PX^_] [^\x07\x1b\n]{{0,{_LONGEST}}} \x1b?
        | [ -/]{{0,8}}
      )
    """,
    re.VERBOSE,
)


# What is switched on: for each aspect the SGR code that did it, which is also its class.
_Style = dict[str, int]
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
        self._style: _Style = {}
        self._held = ""

    def feed(self, text: str) -> Markup:
        """The HTML of the next piece; complete in itself, every element closed."""
        return Markup("").join(_spans(self._pieces(self._held + text), self.link))

    def _pieces(self, text: str) -> Iterator[tuple[_Style, str]]:
        self._held = ""
        position = 0
        while position < len(text):
            if text[position] in "\r\x1b" and _UNFINISHED.fullmatch(text, position):
                self._held = text[position:]
                return
            token = _TOKEN.match(text, position)
            assert token  # the alternatives cover every character
            position = token.end()
            if token["sgr"]:
                self._style = _apply(self._style, token["codes"])
            elif shown := _shown(token):
                yield self._style, shown


def strip(text: str) -> str:
    """The text without its escape sequences."""
    return "".join(_shown(token) for token in _TOKEN.finditer(text))


def _shown(token: re.Match[str]) -> str:
    """The text that a token shows. A lone carriage return starts a line: nothing that was printed is lost."""
    if token["line"]:
        return "\n"
    if token["control"]:
        return _visible(token["control"])
    return token["text"] or ""


def _visible(control: str) -> str:
    """A control character as its Unicode picture; an escape that opens no sequence shows nothing."""
    number = ord(control)
    if number == 0x1B:
        return ""
    if number == 0x7F:
        return "\u2421"
    return chr(0x2400 + number) if number < 0x20 else "\ufffd"


def _spans(pieces: Iterator[tuple[_Style, str]], link: Callable[[str], Markup]) -> Iterator[Markup]:
    run = ""
    current: _Style = {}
    for style, text in pieces:
        if style != current and run:
            yield _span(current, link(run))
            run = ""
        current = style
        run += text
    if run:
        yield _span(current, link(run))


def _span(style: _Style, text: Markup) -> Markup:
    if not style:
        return text
    classes = " ".join(f"sgr-{code}" for code in style.values())
    return Markup('<span class="{}">{}</span>').format(classes, text)


def _apply(style: _Style, codes: str) -> _Style:
    """The style after one SGR sequence; a code that is unknown changes nothing."""
    numbers = [int(code[:6] or 0) for code in re.split("[;:]", codes)]
    while numbers:
        code = numbers.pop(0)
        if code in (38, 48):
            code = _extended(numbers, code - 38)
        if code == 0:
            style = {}
        elif code in _ASPECTS:
            style = {**style, _ASPECTS[code]: code}
        elif code in _OFF:
            style = {aspect: on for aspect, on in style.items() if aspect not in _OFF[code]}
    return style


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


def _nearest(*rgb: int) -> int:
    return min(range(16), key=lambda colour: sum((a - b) ** 2 for a, b in zip(_RGB[colour], rgb, strict=True)))


_RGB = (
    *((0, 0, 0), (170, 0, 0), (0, 170, 0), (170, 85, 0), (0, 0, 170), (170, 0, 170), (0, 170, 170), (170, 170, 170)),
    *((85, 85, 85), (255, 85, 85), (85, 255, 85), (255, 255, 85)),
    *((85, 85, 255), (255, 85, 255), (85, 255, 255), (255, 255, 255)),
)
