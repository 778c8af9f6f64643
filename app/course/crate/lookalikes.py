"""Characters that look like those of a programming language but are others. Most come from web pages and PDFs."""

import unicodedata
from collections.abc import Iterator

from app.course.crate import Lookalike

_MEANT = {
    '"': "\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033\uff02",
    "'": "\u2018\u2019\u201b\u2032\u00b4\uff07",
    "-": "\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d",
    "=": "\uff1d\u2550",
    ":": "\uff1a\u2236\ua789",
    ";": "\uff1b\u037e",
    "!": "\uff01\u01c3",
    "#": "\uff03",
    "(": "\uff08",
    ")": "\uff09",
    "[": "\uff3b\u3010",
    "]": "\uff3d\u3011",
    "{": "\uff5b",
    "}": "\uff5d",
    ",": "\uff0c\u201a",
    ".": "\uff0e\u2024",
    "_": "\uff3f\u203f",
}
_CALLED = {
    '"': "a straight quotation mark",
    "'": "a straight quotation mark",
    "-": "a hyphen",
    "=": "an equals sign",
    ":": "a colon",
    ";": "a semicolon",
    "!": "an exclamation mark",
    "#": "a number sign",
    "(": "an opening parenthesis",
    ")": "a closing parenthesis",
    "[": "an opening bracket",
    "]": "a closing bracket",
    "{": "an opening brace",
    "}": "a closing brace",
    ",": "a comma",
    ".": "a full stop",
    "_": "an underscore",
}
_ASCII = {character: meant for meant, characters in _MEANT.items() for character in characters}


def first_lookalike(path: str, text: str, line: int, comment: str) -> Lookalike | None:
    """Return the first such character of a line, or else of the file; what stands behind ``comment`` does not count."""
    lines = text.split("\n")
    order = [line - 1, *range(len(lines))] if 0 < line <= len(lines) else range(len(lines))
    for number in order:
        code = lines[number].partition(comment)[0]
        for character, meant in _suspects(code):
            name = unicodedata.name(character, "a character without a name")
            return Lookalike(path, number + 1, f"U+{ord(character):04X}", name, meant)
    return None


def _suspects(code: str) -> Iterator[tuple[str, str]]:
    for character in code:
        if character.isascii():
            continue
        category = unicodedata.category(character)
        if character in _ASCII:
            yield character, _CALLED[_ASCII[character]]
        elif category == "Zs":
            yield character, "a space"
        elif category in ("Cf", "Cc", "Zl", "Zp"):
            yield character, "nothing, because it is invisible"
