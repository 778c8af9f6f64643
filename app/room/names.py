"""Show the names that learners choose: each is visible, fits into its row, and cannot be taken for another one."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from app.room.model import Member

_DROPPED = ("Cc", "Cf", "Cn", "Co", "Cs")
"""Control and formatting characters, which could turn the line around, and characters that no font has."""
_MARKS = ("Mn", "Me")
_BLANKS = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols without ink."""
_LONGEST = 1000
"""Characters that are looked at. Normalizing takes time that grows with the square of a run of combining marks."""
_MOST_MARKS = 2
"""Combining marks after one letter. Vietnamese needs two; dozens would cover the rows above and below."""


def cleaned(text: str) -> str:
    """Return a name as one line of visible characters; empty if nothing is left. The rest of a long one is left out."""
    name = " ".join("".join(_kept(unicodedata.normalize("NFC", text[:_LONGEST]))).split())
    return name if any(unicodedata.category(char) not in (*_MARKS, "Zs") for char in name) else ""


def _kept(text: str) -> Iterator[str]:
    marks = 0
    for char in text:
        kind = unicodedata.category(char)
        if char.isspace() or char in _BLANKS:
            marks = 0
            yield " "
        elif kind not in _DROPPED:
            marks = marks + 1 if kind in _MARKS else 0
            if marks <= _MOST_MARKS:
                yield char


def labels(members: Iterable[Member]) -> Mapping[int, str]:
    """Return a label for each member by number; no two are equal. Names that look alike get the number behind them."""
    found = {member.number: member.label for member in members}
    alike = Counter(map(_folded, found.values()))
    return {
        number: f"{label} ({number})" if alike[_folded(label)] > 1 or _is_numbered(label) else label
        for number, label in found.items()
    }


def _folded(label: str) -> str:
    """Return what a name shares with those that look like it: letters and digits, without case and accents."""
    text = unicodedata.normalize("NFKD", label).casefold()
    return "".join(char for char in text if char.isalnum()) or label


def _is_numbered(label: str) -> bool:
    """Return True for a name that looks as if the number had been added here."""
    return re.search(r"\(\s*\d+\s*\)$", unicodedata.normalize("NFKC", label)) is not None
