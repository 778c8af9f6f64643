"""What a lesson's text quotes of its recordings: whose words, which lines of them, and beside which others."""

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
    """What a text wants to show of its lesson's recordings; no ``generations``: the newest compiler and the oldest.

    ``seen`` asks for what the playground saw of the program or machine instead of what was printed. ``first`` and
    ``last`` are regular expressions for the lines with which the quotation begins and ends.
    """

    files: str
    command: str
    generations: tuple[str, ...] = ()
    seen: bool = False
    first: str | None = None
    last: str | None = None


def quote(info: str) -> Quote:
    """What stands behind the fence of ``recorded start "cargo build" 1.96 1.95``; raises ``RecordingError``."""
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
            _compiled(info, ends[name])
    seen = "seen" in rest[-1:]
    generations = rest[:-1] if seen else rest
    if wrong := [one for one in generations if not re.fullmatch(r"\d+\.\d+", one)]:
        raise RecordingError(f"{info!r}: behind the command stand compilers, `seen`, `from` and `to`; not {wrong[0]!r}")
    return Quote(files, command, tuple(generations), seen, ends.get("from"), ends.get("to"))


def quotes(text: str) -> tuple[str, ...]:
    """What stands behind each fence of a lesson's text that quotes a recording."""
    return tuple(match[1].strip() for match in re.finditer(r"^```(recorded\b.*)$", text, re.MULTILINE))


def quoted(recordings: Iterable[Recording], wanted: Quote) -> list[tuple[tuple[str, ...], str]]:
    """The texts to show, each with the generations that say the same; empty when nothing was recorded."""
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


def without(recordings: Iterable[Recording], wanted: Quote) -> tuple[str, ...]:
    """The generations whose recording has none of the lines that are wanted."""
    return tuple(one.what.generation for one in _chosen(recordings, wanted) if not _excerpt(one, wanted))


def _compiled(info: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise RecordingError(f"{info!r}: {pattern!r} is no regular expression: {error}") from error


def _chosen(recordings: Iterable[Recording], wanted: Quote) -> list[Recording]:
    runs = [one for one in recordings if (one.what.files, one.what.command) == (wanted.files, wanted.command)]
    if wanted.generations:
        return [one for name in wanted.generations for one in runs if one.what.generation == name]
    return [runs[0], runs[-1]] if len(runs) > 1 else runs


def _excerpt(run: Recording, wanted: Quote) -> str:
    """The lines from the first that matches to the next that does, with a mark where some are left out; else ""."""
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
