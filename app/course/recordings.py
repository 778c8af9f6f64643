"""Recorded runs: the events of a lesson's commands, stored beside the lesson as JSON lines.

A file such as ``recorded/1.96.jsonl`` holds the runs of one compiler generation. Each run is a line that identifies the
run, followed by its events without the verdict, which ``checks`` can compute again. Details that depend on the machine
or the time are replaced when a run is recorded and ignored when two runs are compared.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Self, TypeVar, assert_never

from app.protocol.events import (
    Artifact,
    Diagnostic,
    Edit,
    Event,
    Finished,
    Machine,
    Observed,
    Output,
    Queued,
    Screen,
    Started,
    Verdict,
    from_json,
    to_json,
)
from app.protocol.visible import plain

# Replacements in the JSON text of an event, for details that differ between runs and machines.
_NORMALIZATIONS = (
    (re.compile(r'/[^\s"\\:]*?/server-\w+/\d+'), "/playground"),
    (re.compile(r'/[^\s"\\:<>]*?/lib/rustlib/'), "/toolchain/lib/rustlib/"),
    (re.compile(r"(?<=/)rustc\w{6}(?=/)"), "rustc…"),
    (re.compile(r"(?<=[.-])[0-9a-f]{16}\b"), "…"),
    (re.compile(r"17h[0-9a-f]{16}E"), "17h…E"),
    (re.compile(r'PATH=\\"[^"]*\\"'), 'PATH=\\"…\\"'),
    # objdump's output for a PE file: its link time and the signature of its debug information.
    (re.compile(r"(?<=Time/Date\\t\\t)[^\\]+"), "…"),
    (re.compile(r"(?<=signature )[0-9a-f]{32}\b"), "…"),
)
_E = TypeVar("_E", bound=Event)
_COMMAND_LINE = re.compile(r'^.*"cc".*"-o".*$', re.MULTILINE)
_FOLDERS = re.compile(r"(?<![\w.…<>:/])/(?:[\w.…+-]+/){3,}")
# Details that may differ between two runs that say the same: times, addresses, folders and the linker's command line.
_INCIDENTAL = (
    (_COMMAND_LINE, '"cc"'),
    (_FOLDERS, "…/"),
    (re.compile(r"0x[0-9a-f]+"), "0x…"),
    (re.compile(r"\b\d+\.\d+s\b"), "…s"),
    # Cargo prints this only if another unit was still being built when one failed.
    (re.compile(r"^.*build failed, waiting for other jobs to finish\.\.\.\n", re.MULTILINE), ""),
)
_LONGEST_LINE = 240


class RecordingError(ValueError):
    """A recording or quotation that is malformed; the message says why."""


@dataclass(frozen=True)
class RecordingKey:
    """The identity of a run: its files (``start``, ``solution`` or a variant), its command and its compiler."""

    files: str
    command: str
    version: str
    host: str
    source: str

    @property
    def release(self) -> tuple[int, ...]:
        """The compiler's version as numbers."""
        return tuple(int(part) for part in self.version.partition("-")[0].split("."))

    @property
    def generation(self) -> str:
        """The first two numbers of the compiler's version, which are also the toolchain's name."""
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True)
class Recording:
    """One run and its events, from ``queued`` to ``finished``.

    ``lines`` are the events as JSON in UTF-8. A course has thousands of them, and as objects they take ten times the
    memory, as strings twice, because of each ``…``.
    """

    what: RecordingKey
    lines: tuple[bytes, ...]

    @classmethod
    def of(cls, what: RecordingKey, events: Iterable[Event]) -> Self:
        """Return a recording of these events."""
        return cls(what, tuple(to_json(event).encode() for event in events))

    @property
    def events(self) -> tuple[Event, ...]:
        """The events, parsed each time."""
        return tuple(map(from_json, self.lines))

    @property
    def shown(self) -> str:
        """The compiler's messages, or else the output, with ANSI escapes; folders and long lines are shortened."""
        return shown(self.events)

    @property
    def seen(self) -> str:
        """The playground's observations: how the program ended, or the emulated machine's screen and registers."""
        return "\n".join(line.rstrip() for event in self.events for line in _observation_lines(event)).strip("\n")

    @property
    def level(self) -> str | None:
        """The run's isolation level, or None if it never started. The crate's folder depends on the level."""
        return next((event.isolation for event in _events_of(self.events, Started)), None)

    def says_the_same(self, other: "Recording") -> bool:
        """Return True if both runs show the same, apart from times, folders and addresses."""
        return comparable(self.events) == comparable(other.events)


def record(what: RecordingKey, events: Iterable[Event]) -> Recording:
    """Return a run in the form in which it is stored: without its verdict or details of this machine and time."""
    log = list(events)
    begun = [Queued(position=0)] if any(isinstance(event, Queued) for event in log) else []
    kept = [*begun, *(event for event in log if not isinstance(event, Queued | Verdict))]
    return Recording.of(what, (_normalize(event.numbered(number)) for number, event in enumerate(kept, 1)))


def renewed(
    old: Iterable[Recording], new: Iterable[Recording], expected: Iterable[tuple[str, str]]
) -> tuple[Recording, ...]:
    """Return the recording of each expected pair of files and command, in that order: the new one if any, else the old.

    If a new recording says the same as the old one of the same compiler, the old one stays, so that files rarely
    change.
    """
    before = {(one.what.files, one.what.command): one for one in old}
    after = {(one.what.files, one.what.command): one for one in new}
    kept = []
    for key in dict.fromkeys(expected):
        was, now = before.get(key), after.get(key)
        same = was and now and was.what == now.what and was.says_the_same(now)
        if one := was if same or now is None else now:
            kept.append(one)
    return tuple(kept)


def to_text(recordings: Iterable[Recording]) -> str:
    """Serialize recordings as the content of a file."""
    lines: list[str] = []
    for one in recordings:
        lines += [json.dumps(asdict(one.what)), *(line.decode() for line in one.lines)]
    return "".join(f"{line}\n" for line in lines)


def from_text(text: str) -> tuple[Recording, ...]:
    """Parse the content of a file. Raises ``RecordingError``."""
    runs: list[tuple[RecordingKey, list[bytes]]] = []
    # Not splitlines, which also splits at characters that JSON does not escape, such as U+2028.
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        try:
            if "type" in (head := json.loads(line)):
                from_json(line)
                runs[-1][1].append(line.encode())
            else:
                runs.append((RecordingKey(**head), []))
        except (ValueError, TypeError, IndexError) as error:
            raise RecordingError(f"line {number}: {error}") from error
    return tuple(Recording(what, tuple(lines)) for what, lines in runs)


def _normalize(event: Event) -> Event:
    text = to_json(event)
    for pattern, instead in _NORMALIZATIONS:
        text = pattern.sub(instead, text)
    tidy = from_json(text)
    return tidy.model_copy(update={"seconds": 0.0}) if isinstance(tidy, Finished) else tidy


def _events_of(events: Iterable[Event], kind: type[_E]) -> Iterator[_E]:
    return (event for event in events if isinstance(event, kind))


def comparable(events: Iterable[Event]) -> tuple[object, ...]:
    """Return the messages, each stream's output and the end of a run. Chance decides how two streams interleave."""
    events = tuple(events)
    said = [
        (one.level, one.code, one.error_class, _without_incidentals(one.rendered))
        for one in _events_of(events, Diagnostic)
    ]
    printed: dict[str, str] = {}
    for one in _events_of(events, Output):
        printed[one.stream] = printed.get(one.stream, "") + _without_incidentals(one.text)
    return said, printed, [(one.status, one.exit_code) for one in _events_of(events, Finished)]


def _observation_lines(event: Event) -> Iterable[str]:
    match event:
        case Observed():
            return [event.detail]
        case Screen():
            return event.text
        case Machine():
            code = [] if event.exit_code is None else [f"exit code: {event.exit_code}"]
            return [event.meaning, *code, *event.registers.splitlines()]
        case Queued() | Started() | Output() | Diagnostic() | Artifact() | Edit() | Finished() | Verdict():
            return []
        case _:
            assert_never(event)


def shown(events: Iterable[Event]) -> str:
    """Return the text that a run shows; see ``Recording.shown``."""
    events = tuple(events)
    messages = [event.rendered for event in _events_of(events, Diagnostic) if not event.is_summary]
    printed = messages or [event.text for event in _events_of(events, Output)]
    lines = _FOLDERS.sub("…/", "".join(printed)).split("\n")
    return "\n".join(_shorten(line).rstrip() for line in lines).strip("\n")


def words(text: str) -> str:
    """Return a text without colours, times, addresses and folders, for comparison."""
    return plain(_without_incidentals(text))


def _without_incidentals(text: str) -> str:
    for pattern, instead in _INCIDENTAL:
        text = pattern.sub(instead, text)
    return text


def _shorten(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else f"{line[:100]} … {line[-30:]}"
