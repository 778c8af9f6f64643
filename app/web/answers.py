"""Show the answers of several compilers to one source side by side, with the differences marked."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from app.course.diagnosis import Diagnosis
from app.course.recordings import shown, words
from app.protocol.events import Diagnostic, Event, Finished, Verdict
from app.web.ansi import Terminal
from app.web.render import ticks

_MOST_LINES = 400
_MOST_ERRORS = 50
_LONGEST_ERROR = 1000
"""Characters shown of an error's message; with ``compile_error!`` it can be as long as a run's output."""
_DRAWN = {"", "|"}
"""Lines without content, which never count as a difference."""

_HASHES = re.compile(r"(?<=[-./])(?:[0-9a-z]{20,}|[0-9a-f]{16}|rustc[0-9A-Za-z]{6})(?![0-9A-Za-z])")
"""Parts of the names of files that a compiler makes up anew for each build."""

_Line = tuple[str, Markup]


@dataclass(frozen=True)
class Answer:
    """One compiler's answer so far: the state of its run and, once that is done, the run's ``log``."""

    compiler: str
    state: str
    log: Sequence[Event]


@dataclass(frozen=True)
class Statement:
    """A part of a compiler's answer; ``shared``: every other compiler that has ended says it too."""

    html: Markup
    shared: bool


@dataclass(frozen=True)
class Column:
    """One compiler's answer; ``errors`` are kinds of error by title, ``lines`` the lines of its terminal."""

    compiler: str
    state: str
    finished: Finished | None
    reached: bool
    errors: tuple[Statement, ...]
    lines: tuple[Statement, ...]
    left_out: int

    @property
    def differs(self) -> bool:
        """Return True if some other compiler does not say the same."""
        return not all(one.shared for one in (*self.errors, *self.lines))


def columns(answers: Sequence[Answer], diagnosis: Diagnosis) -> tuple[Column, ...]:
    """Return the answers in their order; only those that have ended are compared."""
    titles = {known.id: known.title for known in diagnosis.classes}
    errors = [_errors(answer.log, titles) for answer in answers]
    texts = [shown(answer.log).split("\n") for answer in answers]
    lines: list[list[_Line]] = []
    for text in texts:
        terminal = Terminal()
        lines.append(
            [(_HASHES.sub("…", words(line)).strip(), terminal.feed(f"{line}\n")) for line in text[:_MOST_LINES]]
        )
    ended = [number for number, answer in enumerate(answers) if answer.state == "done"]
    both = [_shared([kind[number] for number in ended]) for kind in (errors, lines)]
    return tuple(
        Column(
            compiler=answer.compiler,
            state=answer.state,
            finished=next((event for event in answer.log if isinstance(event, Finished)), None),
            reached=any(isinstance(event, Verdict) and event.reached for event in answer.log),
            errors=tuple(Statement(html, key in both[0]) for key, html in errors[number]),
            lines=tuple(Statement(html, key in both[1] or key in _DRAWN) for key, html in lines[number]),
            left_out=max(0, len(texts[number]) - _MOST_LINES),
        )
        for number, answer in enumerate(answers)
    )


def _shared(said: Sequence[Sequence[_Line]]) -> set[str]:
    """Return the keys that all answers have."""
    return set.intersection(*({key for key, _ in one} for one in said)) if said else set()


def _errors(log: Sequence[Event], titles: Mapping[str, str]) -> list[_Line]:
    """Return each error class once, and each error without a class by its message."""
    found: dict[str, Markup] = {}
    for event in log:
        if isinstance(event, Diagnostic) and event.level.startswith("error") and not event.is_summary:
            message = event.message
            shown = message if len(message) <= _LONGEST_ERROR else f"{message[:_LONGEST_ERROR]}…"
            key = event.error_class or message
            if key not in found and len(found) < _MOST_ERRORS:
                found[key] = ticks(titles.get(event.error_class or "", shown))
    return list(found.items())
