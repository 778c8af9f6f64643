"""Quotations of recorded compiler output in a lesson's text: which compilers, and which lines of their output."""

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.course.recordings import Recording, RecordingError, words
from app.protocol.visible import plain

_EXAMPLE = 'recorded solution "cargo build"'
_CUT = "…"


@dataclass(frozen=True)
class Quote:
    """A quotation that a text asks for. Without ``generations`` it shows the newest and the oldest compiler.

    If ``seen`` is True, it shows what the playground observed of the program or machine instead of the output.
    ``first`` and ``last`` are regular expressions that match the first and the last quoted line.
    """

    files: str
    command: str
    generations: tuple[str, ...] = ()
    seen: bool = False
    first: str | None = None
    last: str | None = None


def quote(info: str) -> Quote:
    """Parse a fence's info string, such as ``recorded start "cargo build" 1.96 1.95``. Raises ``RecordingError``."""
    try:
        word, files, command, *rest = shlex.split(info)
    except ValueError as error:
        raise RecordingError(f"{info!r}: give the files and the command, as in {_EXAMPLE}") from error
    if word != "recorded" or not re.fullmatch(r"[a-z0-9-]+", files) or not command:
        raise RecordingError(f"{info!r}: give the files and then the command, as in {_EXAMPLE}")
    ends: dict[str, str] = {}
    for name in ("to", "from"):
        if name in rest[-2:-1]:
            *rest, _, ends[name] = rest
            _check_pattern(info, ends[name])
    seen = "seen" in rest[-1:]
    generations = rest[:-1] if seen else rest
    if wrong := [one for one in generations if not re.fullmatch(r"\d+\.\d+", one)]:
        raise RecordingError(f"{info!r}: compilers, `seen`, `from` and `to` may follow the command; not {wrong[0]!r}")
    return Quote(files, command, tuple(generations), seen, ends.get("from"), ends.get("to"))


def quotes(text: str) -> tuple[str, ...]:
    """Return the info string of each fence in a lesson's text that quotes a recording."""
    return tuple(match[1].strip() for match in re.finditer(r"^```(recorded\b.*)$", text, re.MULTILINE))


def quoted(recordings: Iterable[Recording], wanted: Quote) -> list[tuple[tuple[str, ...], str]]:
    """Return the texts to show, each with the generations that print the same; empty if nothing was recorded."""
    shown: list[tuple[tuple[str, ...], str]] = []
    for one in _chosen(recordings, wanted):
        text = _excerpt(one, wanted)
        for number, (names, other) in enumerate(shown):
            if words(other) == words(text):
                shown[number] = ((*names, one.what.generation), other)
                break
        else:
            shown.append(((one.what.generation,), text))
    return [(names, text) for names, text in shown if text]


def generations_without(recordings: Iterable[Recording], wanted: Quote) -> tuple[str, ...]:
    """Return the generations whose recording lacks the quoted lines."""
    return tuple(one.what.generation for one in _chosen(recordings, wanted) if not _excerpt(one, wanted))


def _check_pattern(info: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise RecordingError(f"{info!r}: {pattern!r} is not a regular expression: {error}") from error


def _chosen(recordings: Iterable[Recording], wanted: Quote) -> list[Recording]:
    runs = [one for one in recordings if (one.what.files, one.what.command) == (wanted.files, wanted.command)]
    if wanted.generations:
        return [one for name in wanted.generations for one in runs if one.what.generation == name]
    return [runs[0], runs[-1]] if len(runs) > 1 else runs


def _excerpt(run: Recording, wanted: Quote) -> str:
    """Return the lines from the match of ``first`` to the match of ``last``, or "" if one of them does not match.

    An ellipsis marks lines that are left out before or after.
    """
    lines = (run.seen if wanted.seen else run.shown).split("\n")
    begin = next(_matching(lines, wanted.first), None) if wanted.first else 0
    if begin is None:
        return ""
    last = next(_matching(lines[begin:], wanted.last), None) if wanted.last else len(lines) - 1 - begin
    if last is None:
        return ""
    end = begin + last + 1
    before, after = [_CUT] * bool(begin), [_CUT] * (end < len(lines))
    return "\n".join([*before, *lines[begin:end], *after])


def _matching(lines: Iterable[str], pattern: str) -> Iterator[int]:
    return (number for number, line in enumerate(lines) if re.search(pattern, plain(line)))
