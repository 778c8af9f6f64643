"""The event types of a run: frozen data with JSON both ways.

A run is a sequence of these events. They are the same as server-sent events, in the recordings of the lessons and from
``playground try --json``. ``id`` counts from 1 within a run and equals the id of the server-sent event. An event that
no log has numbered yet has the id 0.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from app.protocol.visible import visible

Status = Literal["ok", "failed", "timeout", "cancelled", "limit"]
Ended = Literal["exited", "off", "halted", "time", "reset", "lockup", "refused", "crashed"]
Limit = Literal["cpu", "memory", "processes", "files", "file-size", "workspace", "output"]

ProgramOutcome = Literal["running", "exited", "killed"]
Reason = Literal[
    "loops",
    "waits",
    "busy",
    "exit",
    "entry-zero",
    "returned",
    "misaligned",
    "stack-overflow",
    "jumped-away",
    "bad-address",
    "bad-instruction",
    "other-signal",
]

Visible = Annotated[str, AfterValidator(visible)]
"""An untrusted name. Its invisible characters become U+FFFD."""

UNREAD = "unknown"
"""The format of an artifact that could not be read."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="forbid", serialize_by_alias=True)


class _Numbered(_Frozen):
    id: int = 0

    def numbered(self, number: int) -> Self:
        """Return the event with the number that the run's log gives it as its id."""
        return self.model_copy(update={"id": number})


class Queued(_Numbered):
    """The run waits. At most ``position`` of the other waiting runs start before it (0: it is next)."""

    type: Literal["queued"] = "queued"
    position: int


class Started(_Numbered):
    """The process starts, with this toolchain, these arguments and this isolation level.

    ``note`` says how the command was read if that differs from what was typed, such as without a pasted prompt. ``age``
    is set if nothing was started, because an identical run had ended so many seconds before: its events follow. The
    JSON of other runs has no ``note`` and no ``age``. Only a nightly toolchain's has ``nightly``.
    """

    type: Literal["started"] = "started"
    toolchain: str
    argv: tuple[str, ...]
    isolation: str
    note: str | None = Field(default=None, exclude_if=lambda note: note is None)
    age: int | None = Field(default=None, exclude_if=lambda age: age is None)
    nightly: bool = Field(default=False, exclude_if=lambda nightly: not nightly)


class Output(_Numbered):
    """Text for the terminal, including ANSI sequences."""

    type: Literal["output"] = "output"
    stream: Literal["stdout", "stderr"]
    text: str


class Span(_Frozen):
    """A range in a file of the crate. Lines and columns count from 1, as in rustc."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    primary: bool
    label: str | None = None


class Replacement(_Frozen):
    """A text that replaces a range, which is counted as in ``Span``. An empty range means an insertion."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    text: str


class Suggestion(_Frozen):
    """A change that the compiler proposes: either all of the replacements or none.

    ``applicability`` is rustc's certainty: a ``MachineApplicable`` suggestion can be applied without review.
    """

    message: str
    applicability: str
    replacements: tuple[Replacement, ...]


class Diagnostic(_Numbered):
    """A message of the compiler or of cargo. ``class`` is an id of ``errors.toml`` or null.

    ``rendered`` is the text for the terminal, including ANSI sequences. ``notes`` are the texts of rustc's child
    messages, among them the linker's output. ``suggestions`` come from those children that propose a change.
    """

    type: Literal["diagnostic"] = "diagnostic"
    level: str
    code: str | None
    message: str
    rendered: str
    spans: tuple[Span, ...] = ()
    notes: tuple[str, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()
    error_class: str | None = Field(default=None, alias="class")

    @property
    def is_summary(self) -> bool:
        """Return True if the message only counts the ones before it, as rustc's last messages do."""
        return not self.spans and bool(re.match(r"aborting due to|\d+ warnings? emitted", self.message))


class Artifact(_Numbered):
    """The product of the build, with facts that were read from the file itself.

    ``path`` is relative to the crate, with U+FFFD for invisible characters. ``format`` is ``UNREAD`` for a file that
    could not be read; the other facts then mean nothing. ``entry`` is an address, ``entry_symbol`` the name at that
    address or null, ``interpreter`` the dynamic loader or null. ``runtime`` has those symbols of the C runtime that the
    file refers to (``__libc_start_main``, ``malloc`` and a few more). ``subsystem`` is the kind of program in a PE file
    (``console``, ``windows``, ``native``, ``efi``) or null. ``card`` has the further facts, for which no verdict waits:
    only ``playground try --json`` fills it in.
    """

    type: Literal["artifact"] = "artifact"
    path: Visible
    bytes: int
    sha256: str
    format: str
    machine: str
    entry: int | None
    entry_symbol: str | None
    needed: tuple[str, ...]
    interpreter: str | None
    runtime: tuple[str, ...] = ()
    subsystem: str | None = None
    card: Mapping[str, Any] | None = None


class Observed(_Numbered):
    """The end of the program that was built, as its tracer saw it.

    ``outcome``: the program was still ``running`` after two seconds and was ended on purpose, it ``exited`` by itself,
    or a signal ``killed`` it. ``reason`` is the cause in one word, ``detail`` in a sentence or two. ``system_calls`` is
    their number since the first instruction, ``calls`` has the names of the first ones; they are null and empty for a
    program with shared libraries, which counting would slow down. ``pc`` and ``address`` (the one that faulted) are the
    file's addresses if they lie in the program.
    """

    type: Literal["observed"] = "observed"
    path: Visible
    outcome: ProgramOutcome
    reason: Reason
    detail: str
    seconds: float
    cpu_seconds: float
    system_calls: int | None
    calls: tuple[str, ...] = ()
    exit_code: int | None = None
    signal: str | None = None
    pc: int | None = None
    address: int | None = None
    instruction: str | None = None


class Screen(_Numbered):
    """The text screen of an emulated PC. A later one replaces an earlier one.

    ``text`` has a string for each row, with a character for each column. ``colors`` has two hexadecimal digits for each
    character: the background colour and the foreground colour, as the PC numbers them (0 black to f white).
    """

    type: Literal["screen"] = "screen"
    columns: int
    rows: int
    text: tuple[str, ...]
    colors: tuple[str, ...]


class Machine(_Numbered):
    """The end of an emulated machine, which ``meaning`` explains in a sentence.

    ``exited``: the kernel ended the emulator with ``exit_code``. ``off``: the kernel switched the machine off.
    ``halted``: the processor sleeps forever. ``time``: the timeout ended the machine. ``reset``: the machine would
    have restarted. ``lockup``: the processor locked up. ``refused``: the emulator did not start the machine.
    ``crashed``: a signal ended the emulator. ``registers`` is QEMU's list of them, empty if QEMU had ended already.
    """

    type: Literal["machine"] = "machine"
    emulator: str
    ended: Ended
    exit_code: int | None
    seconds: float
    meaning: str
    registers: str


class Edit(_Numbered):
    """A file of the crate as a tool such as ``cargo fmt`` would write it; the learner decides whether to take it."""

    type: Literal["edit"] = "edit"
    path: str
    text: str


class Finished(_Numbered):
    """The process has ended. ``seconds`` is wall-clock time without the queue.

    ``reason`` is ``engine-lost`` if the engine was lost during the run, and ``restarted`` if it was told to stop. The
    JSON of other runs has no ``reason``.
    """

    type: Literal["finished"] = "finished"
    status: Status
    exit_code: int | None
    seconds: float
    limit: Limit | None = None
    reason: Literal["engine-lost", "restarted"] | None = Field(default=None, exclude_if=lambda reason: reason is None)


class Check(_Frozen):
    """One condition of a lesson's goal. ``detail`` says what the run showed; it is never empty if ``ok`` is false."""

    id: str
    title: str
    ok: bool
    detail: str = ""


class Advice(_Frozen):
    """Help that this run's outcome calls for: the cause in a few words, and what to do about it; both are Markdown."""

    id: str
    text: str
    title: str = ""


class Verdict(_Numbered):
    """The verdict on the lesson's goal: always the last event of a run.

    ``detour`` is set if the lesson's text itself asks for this run, to show something other than the goal. ``stored``
    is False if the progress could not be stored. The JSON of other verdicts has no ``stored``.
    """

    type: Literal["verdict"] = "verdict"
    reached: bool
    checks: tuple[Check, ...]
    advice: tuple[Advice, ...] = ()
    detour: Advice | None = Field(default=None, exclude_if=lambda detour: detour is None)
    stored: bool = Field(default=True, exclude_if=bool)


Event = Queued | Started | Output | Diagnostic | Artifact | Observed | Screen | Machine | Edit | Finished | Verdict

_adapter: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


def to_json(event: Event) -> str:
    """Return the event as one line of JSON."""
    return event.model_dump_json(exclude_none=False)


def from_json(line: str | bytes) -> Event:
    """Return the event in a line of JSON. Raises ``pydantic.ValidationError`` for anything else."""
    return _adapter.validate_json(line)
