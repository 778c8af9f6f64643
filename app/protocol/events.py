"""The frozen event types of a run, JSON both ways.

A run is a sequence of these events. They are the same over server-sent events, in the
recordings of the lessons and from ``playground try --json``. ``id`` counts from 1 within a
run and equals the id of the server-sent event; an event that no log has numbered yet has id 0.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from app.protocol.visible import visible

Status = Literal["ok", "failed", "timeout", "cancelled", "limit"]
Ended = Literal["exited", "off", "halted", "time", "reset", "lockup", "refused", "crashed"]
Limit = Literal["cpu", "memory", "processes", "files", "file-size", "workspace", "output"]

Outcome = Literal["running", "exited", "killed"]
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
"""A name that a stranger chose; what cannot be seen in it is U+FFFD."""

UNREAD = "unknown"
"""The format of an artefact that could not be read."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="forbid", serialize_by_alias=True)


class _Numbered(_Frozen):
    id: int = 0

    def numbered(self, number: int) -> Self:
        """This event under the number that its run's log gave it."""
        return self.model_copy(update={"id": number})


class Queued(_Numbered):
    """The run waits; at most ``position`` of the runs that wait now start before it (0: it is next)."""

    type: Literal["queued"] = "queued"
    position: int


class Started(_Numbered):
    """The process runs: by which toolchain, with which arguments, behind which isolation level."""

    type: Literal["started"] = "started"
    toolchain: str
    argv: tuple[str, ...]
    isolation: str


class Output(_Numbered):
    """Text as the terminal shows it, ANSI sequences included."""

    type: Literal["output"] = "output"
    stream: Literal["stdout", "stderr"]
    text: str


class Span(_Frozen):
    """A place in a file of the crate; lines and columns count from 1, as rustc counts them."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    primary: bool
    label: str | None = None


class Replacement(_Frozen):
    """Text to stand in the place of a span, which is counted as ``Span`` is; an empty span inserts."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    text: str


class Suggestion(_Frozen):
    """A change that the compiler proposes: all of the replacements, or none.

    ``applicability`` is rustc's word for how sure it is: ``MachineApplicable`` can be applied without a look.
    """

    message: str
    applicability: str
    replacements: tuple[Replacement, ...]


class Diagnostic(_Numbered):
    """One message of the compiler or of cargo; ``class`` is an id of ``errors.toml`` or null.

    ``rendered`` is what the terminal shows, ANSI included. ``notes`` are the texts of rustc's child
    messages; the linker's own words stand there. ``suggestions`` are those of the children that say what to
    write where.
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


class Artifact(_Numbered):
    """What the build left, read from the file itself.

    ``path`` is relative to the crate, with U+FFFD for what cannot be seen; ``format`` is ``UNREAD`` for what could not
    be read, and then the rest says nothing; ``entry`` is an address; ``entry_symbol`` the name at that address or
    null; ``interpreter`` the dynamic loader or null; ``runtime`` those symbols of the C runtime that the file names
    (``__libc_start_main``, ``malloc`` and a few more); ``subsystem`` the kind of program in a PE file (``console``,
    ``windows``, ``native``, ``efi``) or null. ``card`` is what else was read of the file, for which no verdict waits:
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
    """What became of the program that was built, seen by its tracer.

    ``outcome``: it was still ``running`` after its two seconds and was ended on purpose, it ``exited`` by itself, or a
    signal ``killed`` it. ``reason`` is one word for what was seen, ``detail`` the same in a sentence or two.
    ``system_calls`` counts those since the program's first instruction, ``calls`` names the first of them; null and
    empty for a program with shared libraries, which is not slowed down by counting. ``pc`` and ``address`` (the one
    that the program stumbled over) are as in the file for what lies in it.
    """

    type: Literal["observed"] = "observed"
    path: Visible
    outcome: Outcome
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
    """The text screen of an emulated PC; a later one takes the place of an earlier one.

    ``text`` has a string for each row, a character for each column. ``colors`` has two hexadecimal digits for each
    character: the colour behind it, then its own, in the PC's numbers (0 black to f white).
    """

    type: Literal["screen"] = "screen"
    columns: int
    rows: int
    text: tuple[str, ...]
    colors: tuple[str, ...]


class Machine(_Numbered):
    """How an emulated machine ended, which ``meaning`` explains in a sentence.

    ``exited``: the kernel ended the emulator, with ``exit_code``; ``off``: it switched the machine off; ``halted``: it
    sleeps for good; ``time``: it still ran when its time was up; ``reset``: it would have begun anew; ``lockup``: the
    processor could not go on; ``refused``: the emulator did not start it; ``crashed``: the emulator itself ended.
    ``registers`` is QEMU's own list of them, empty when it could not be asked any more.
    """

    type: Literal["machine"] = "machine"
    emulator: str
    ended: Ended
    exit_code: int | None
    seconds: float
    meaning: str
    registers: str


class Finished(_Numbered):
    """The process has ended; ``seconds`` is wall-clock time, the queue not counted.

    ``reason`` is ``engine-lost`` for a run whose engine ended in the middle of it; other runs have none in their JSON.
    """

    type: Literal["finished"] = "finished"
    status: Status
    exit_code: int | None
    seconds: float
    limit: Limit | None = None
    reason: Literal["engine-lost"] | None = Field(default=None, exclude_if=lambda reason: reason is None)


class Check(_Frozen):
    """One condition of a lesson's goal; ``detail`` says what was seen and is never empty when ``ok`` is false."""

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
    """Whether the lesson's goal is reached; always the last event of a run."""

    type: Literal["verdict"] = "verdict"
    reached: bool
    checks: tuple[Check, ...]
    advice: tuple[Advice, ...] = ()


Event = Queued | Started | Output | Diagnostic | Artifact | Observed | Screen | Machine | Finished | Verdict

_adapter: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


def to_json(event: Event) -> str:
    """The event as one line of JSON."""
    return event.model_dump_json(exclude_none=False)


def from_json(line: str | bytes) -> Event:
    """The event that a line of JSON holds; raises ``pydantic.ValidationError`` for anything else."""
    return _adapter.validate_json(line)
