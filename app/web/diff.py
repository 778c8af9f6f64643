"""Split the difference between two texts into hunks, each of which can be applied by itself. Pure.

Texts are split at line ends, so a missing line end at the end of a text counts as a difference.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

_CONTEXT = 2
_MOST_LINES = 2000
_MOST_STEPS = 400_000
"""Comparisons of lines that take a tenth of a second, during which the event loop is blocked."""
_JUNK_FROM = 200
"""The number of lines from which on ``difflib`` ignores lines that make up more than a hundredth of all."""
_Code = tuple[str, int, int, int, int]


@dataclass(frozen=True)
class DiffLine:
    """A line of a hunk: in both texts, or only in the old or the new one."""

    kind: Literal["same", "old", "new"]
    text: str


@dataclass(frozen=True)
class Hunk:
    """A difference between two texts, with a little context.

    ``id`` depends on its lines only, so it stays the same when the text changes elsewhere. ``first`` and ``after`` are
    the range of its old lines, counted from 0; ``new`` are the lines that replace them.
    """

    id: str
    first: int
    after: int
    new: tuple[str, ...]
    lines: tuple[DiffLine, ...]


@dataclass(frozen=True)
class FileDiff:
    """The differences of one file."""

    path: str
    hunks: tuple[Hunk, ...]

    @property
    def size(self) -> int:
        """The number of hunks."""
        return len(self.hunks)


def compare(old: str, new: str, context: int = _CONTEXT) -> tuple[Hunk, ...]:
    """Return the hunks that turn ``old`` into ``new``, from the top down; none if the texts are equal.

    ``context``: the number of equal lines around a difference that belong to its hunk.
    """
    before, behind = old.split("\n"), new.split("\n")
    hunks: list[Hunk] = []
    for group in _groups(before, behind, context):
        lines = tuple(line for code in group for line in _lines(code, before, behind))
        # Equal hunks are numbered, so that each id names one.
        same = sum(hunk.lines == lines for hunk in hunks)
        text = "\n".join(f"{line.kind} {line.text}" for line in lines)
        name = hashlib.sha256(f"{same} {text}".encode()).hexdigest()[:12]
        content = tuple(behind[group[0][3] : group[-1][4]])
        hunks.append(Hunk(name, group[0][1], group[-1][2], content, lines))
    return tuple(hunks)


def _groups(before: Sequence[str], behind: Sequence[str], context: int) -> Iterable[list[_Code]]:
    if max(len(before), len(behind)) > _MOST_LINES or _steps(before, behind) > _MOST_STEPS:
        whole = ("replace", 0, len(before), 0, len(behind))
        return [[whole]] if before != behind else []
    return SequenceMatcher(None, before, behind).get_grouped_opcodes(context)


def _steps(before: Sequence[str], behind: Sequence[str]) -> int:
    """Return an upper bound on the search's work: it visits each pair of equal lines once per difference."""
    there = Counter(behind)
    most = len(behind) // 100 + 1 if len(behind) >= _JUNK_FROM else len(behind)
    return len(behind) * sum(there[line] for line in before if there[line] <= most)


def apply(text: str, hunk: Hunk) -> str:
    """Return the text with this hunk applied."""
    lines = text.split("\n")
    return "\n".join([*lines[: hunk.first], *hunk.new, *lines[hunk.after :]])


def compare_files(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[FileDiff, ...]:
    """Return the files of ``new`` that differ from ``old``; a file missing there counts as empty."""
    diffs = (FileDiff(path, compare(old.get(path, ""), text)) for path, text in new.items())
    return tuple(diff for diff in diffs if diff.hunks)


def _lines(code: _Code, before: Sequence[str], behind: Sequence[str]) -> list[DiffLine]:
    kind, old, old_end, new, new_end = code
    if kind == "equal":
        return [DiffLine("same", text) for text in before[old:old_end]]
    removed = [DiffLine("old", text) for text in before[old:old_end]]
    return removed + [DiffLine("new", text) for text in behind[new:new_end]]
