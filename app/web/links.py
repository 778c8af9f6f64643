"""Find links in a terminal's text: positions in the crate's files, and the compiler's error codes."""

import re
from collections.abc import Callable, Sequence
from itertools import islice

from markupsafe import Markup, escape

Linked = Callable[[str], Markup]
_MOST = 1000
"""Links in one terminal. A program can print 100,000 positions, and a link is ten times as long as its text."""


def place_link(files: Sequence[str], path: str, line: int, column: int, text: str) -> Markup:
    """Return a link to a position in the editor; without scripts it leads to the file's tab."""
    return Markup('<a href="#tab-{}" data-file="{}" data-line="{}" data-column="{}">{}</a>').format(
        files.index(path) + 1, path, line, column, text
    )


def code_link(root: str, toolchain: str, code: str, text: str) -> Markup:
    """Return a link to the same compiler's explanation of an error code."""
    return Markup('<a href="{}/explain/{}?toolchain={}" data-explain>{}</a>').format(root, code, toolchain, text)


def linked(files: Sequence[str], toolchain: str, root: str) -> Linked:
    """Return a function that escapes text and adds links; ``files`` are in the order of their tabs."""
    names = "|".join(re.escape(path) for path in sorted(files, key=len, reverse=True))
    found = re.compile(
        rf"(?<![\w/.])(?P<path>{names or '(?!)'}):(?P<line>[0-9]{{1,7}})(?::(?P<column>[0-9]{{1,7}}))?"
        r"|\b(?P<code>E0[0-9]{3})\b"
    )

    def link(match: re.Match[str]) -> Markup:
        if match["code"]:
            return code_link(root, toolchain, match["code"], match[0])
        return place_link(files, match["path"], int(match["line"]), int(match["column"] or 1), match[0])

    left = _MOST

    def apply(text: str) -> Markup:
        nonlocal left
        if not left or (":" not in text and "E" not in text):
            return escape(text)
        pieces: list[Markup] = []
        end = 0
        for match in islice(found.finditer(text), left):
            left -= 1
            pieces += [escape(text[end : match.start()]), link(match)]
            end = match.end()
        return Markup().join([*pieces, escape(text[end:])])

    return apply
