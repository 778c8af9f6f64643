"""One source, several compilers: their answers beside each other, with what not all of them say marked."""

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
"""Characters shown of an error's own words; ``compile_error!`` makes them as long as a run may print."""
_DRAWN = {"", "|"}
"""Lines that say nothing."""

_HASHES = re.compile(r"(?<=[-./])(?:[0-9a-z]{20,}|[0-9a-f]{16}|rustc[0-9A-Za-z]{6})(?![0-9A-Za-z])")
"""Parts of the names of files that a compiler makes up anew for each build."""

_Line = tuple[str, Markup]


@dataclass(frozen=True)
class Answer:
    """What one compiler has said so far: the run's ``log``, and its place in the queue while it is not done."""

    toolchain: str
    state: str
    log: Sequence[Event]


@dataclass(frozen=True)
class Statement:
    """One thing that a compiler said; ``shared``: all the others that have ended say it too."""

    html: Markup
    shared: bool


@dataclass(frozen=True)
class Column:
    """One compiler's answer; ``errors`` are kinds of error by their titles, ``lines`` what a terminal shows."""

    toolchain: str
    state: str
    finished: Finished | None
    reached: bool
    errors: tuple[Statement, ...]
    lines: tuple[Statement, ...]
    left_out: int

    @property
    def differs(self) -> bool:
        """Whether it says what not all say."""
        return not all(one.shared for one in (*self.errors, *self.lines))


def columns(answers: Sequence[Answer], diagnosis: Diagnosis) -> tuple[Column, ...]:
    """The answers in their order; what is compared are those that have ended."""
    titles = {known.id: known.title for known in diagnosis.classes}
    errors = [_errors(answer.log, titles) for answer in answers]
    texts = [shown(answer.log).split("\n") for answer in answers]
    lines = [_lines(text[:_MOST_LINES]) for text in texts]
    ended = [number for number, answer in enumerate(answers) if answer.state == "done"]
    both = [_shared([kind[number] for number in ended]) for kind in (errors, lines)]
    return tuple(
        Column(
            toolchain=answer.toolchain,
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
    """What all of them say."""
    return set.intersection(*({key for key, _ in one} for one in said)) if said else set()


def _errors(log: Sequence[Event], titles: Mapping[str, str]) -> list[_Line]:
    """Each kind of error once; one without a kind by its own words."""
    found: dict[str, Markup] = {}
    for event in log:
        if isinstance(event, Diagnostic) and event.level.startswith("error") and not event.is_summary:
            message = event.message
            shown = message if len(message) <= _LONGEST_ERROR else f"{message[:_LONGEST_ERROR]}…"
            key = event.error_class or message
            if key not in found and len(found) < _MOST_ERRORS:
                found[key] = ticks(titles.get(event.error_class or "", shown))
    return list(found.items())


def _lines(text: Sequence[str]) -> list[_Line]:
    terminal = Terminal()
    return [(_HASHES.sub("…", words(line)).strip(), terminal.feed(f"{line}\n")) for line in text]
