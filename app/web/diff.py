"""Two texts become hunks, each of which can be applied by itself. Pure.

Lines are what stands between line ends, so that a missing one at the end of a text is a difference like any other.
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
"""A tenth of a second, for which everybody waits."""
_JUNK_FROM = 200
"""From so many lines on, ``difflib`` leaves those out that are more than a hundredth of all."""
_Code = tuple[str, int, int, int, int]


@dataclass(frozen=True)
class DiffLine:
    """One line of a hunk: in both texts, or only in the old or the new one."""

    kind: Literal["same", "old", "new"]
    text: str


@dataclass(frozen=True)
class Hunk:
    """One place where two texts differ, with a little of what is around it.

    ``id`` is made of its lines alone, so that it stays when the text changes elsewhere. ``first`` and ``after``
    are the places of its old lines, counted from 0; ``new`` is what comes there.
    """

    id: str
    first: int
    after: int
    new: tuple[str, ...]
    lines: tuple[DiffLine, ...]


@dataclass(frozen=True)
class FileDiff:
    """How one file differs."""

    path: str
    hunks: tuple[Hunk, ...]

    @property
    def size(self) -> int:
        """How many hunks there are."""
        return len(self.hunks)


def compare(old: str, new: str, context: int = _CONTEXT) -> tuple[Hunk, ...]:
    """The places where ``new`` differs from ``old``, from the top down; none when they are equal.

    ``context``: how many lines around a difference belong to its hunk. Differences with fewer between them are one.
    """
    before, behind = old.split("\n"), new.split("\n")
    groups = _groups(before, behind, context)
    hunks: list[Hunk] = []
    for group in groups:
        lines = tuple(line for code in group for line in _lines(code, before, behind))
        first, after = group[0][1], group[-1][2]
        content = tuple(behind[group[0][3] : group[-1][4]])
        same = sum(hunk.lines == lines for hunk in hunks)
        hunks.append(Hunk(_name(lines, same), first, after, content, lines))
    return tuple(hunks)


def _groups(before: Sequence[str], behind: Sequence[str], context: int) -> Iterable[list[_Code]]:
    if max(len(before), len(behind)) > _MOST_LINES or _steps(before, behind) > _MOST_STEPS:
        whole = ("replace", 0, len(before), 0, len(behind))
        return [[whole]] if before != behind else []
    return SequenceMatcher(None, before, behind).get_grouped_opcodes(context)


def _steps(before: Sequence[str], behind: Sequence[str]) -> int:
    """The most that the search has to do: it looks at each pair of equal lines once for each place that differs."""
    there = Counter(behind)
    most = len(behind) // 100 + 1 if len(behind) >= _JUNK_FROM else len(behind)
    return len(behind) * sum(there[line] for line in before if there[line] <= most)


def apply(text: str, hunk: Hunk) -> str:
    """The text with this hunk of it applied."""
    lines = text.split("\n")
    return "\n".join([*lines[: hunk.first], *hunk.new, *lines[hunk.after :]])


def compare_files(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[FileDiff, ...]:
    """The files of ``new`` that differ from those in ``old``; one that is not there counts as empty."""
    diffs = (FileDiff(path, compare(old.get(path, ""), text)) for path, text in new.items())
    return tuple(diff for diff in diffs if diff.hunks)


def _lines(code: _Code, before: Sequence[str], behind: Sequence[str]) -> list[DiffLine]:
    kind, old, old_end, new, new_end = code
    if kind == "equal":
        return [DiffLine("same", text) for text in before[old:old_end]]
    return [DiffLine("old", text) for text in before[old:old_end]] + [
        DiffLine("new", text) for text in behind[new:new_end]
    ]


def _name(lines: Sequence[DiffLine], same: int) -> str:
    content = "\n".join(f"{line.kind} {line.text}" for line in lines)
    return hashlib.sha256(f"{same} {content}".encode()).hexdigest()[:12]
