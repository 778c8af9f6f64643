"""What a lesson can ask of a run, as data: the shape that lessons and error classes share.

A ``Facts`` names conditions on a finished run. Every field that is set must hold. Nothing here
looks at the text of the learner's code: only at what was run, what the compiler said and what
is in the binary.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import AfterValidator, BaseModel, ConfigDict

from app.course.patterns import Pattern
from app.protocol.events import Ended, Reason


def _specifier(text: str) -> str:
    try:
        SpecifierSet(text)
    except InvalidSpecifier as error:
        raise ValueError(f"{text!r} is no range of versions, such as '<1.70' or '>=1.95,<1.97'") from error
    return text


Versions = Annotated[str, AfterValidator(_specifier)]
"""A range of compiler versions in the notation of Python packaging: ``<1.70``, ``>=1.82``, ``==1.95``."""


class Content(BaseModel):
    """A table of a content file: unknown keys are errors, so that a misspelt one is found."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CommandFacts(Content):
    """Conditions on the command that was run; aliases such as ``cargo b`` count as their long form."""

    program: str
    subcommand: tuple[str, ...] = ()  # one of these; empty: any
    flags_by_hand: bool | None = None  # whether flags for the compiler or linker were typed
    target: bool | None = None  # whether a --target was typed, so that the build is not for this computer
    options: tuple[str, ...] = ()  # all of these were typed


class ArtifactFacts(Content):
    """Conditions on the artefact, as ``binary.py`` reads it; a tuple of alternatives where one is not enough."""

    format: str | None = None
    machine: tuple[str, ...] | None = None  # one of these
    entry: Literal["zero", "set"] | None = None
    entry_symbol: str | None = None
    needed: tuple[str, ...] | None = None  # exactly these libraries
    interpreter: Literal["none", "any"] | None = None
    runtime: tuple[str, ...] | None = None  # exactly these symbols of the C runtime
    subsystem: str | None = None  # of a PE file: console, windows, …


class ObservedFacts(Content):
    """Conditions on what became of the program that was run."""

    outcome: Literal["running", "exited", "killed"] | None = None
    reason: tuple[Reason, ...] | None = None  # one of these
    exit_code: int | None = None
    calls: tuple[str, ...] | None = None  # exactly these system calls, in this order; the first sixteen are seen


class MachineFacts(Content):
    """Conditions on the machine that an emulator played."""

    ended: tuple[Ended | Literal["none"], ...] | None = None  # in one of these ways; none: no machine was started
    screen: Pattern | None = None  # it matches somewhere on its text screen, rows as lines


class Outcome(Content):
    """Conditions on what a finished run showed; a field that is not given is no condition."""

    status: Literal["ok", "failed", "timeout", "cancelled", "limit"] | None = None
    errors: tuple[str, ...] | None = None  # exactly these error classes; an error without a class is one too many
    output: Pattern | None = None  # it matches somewhere in what was printed
    linker: Pattern | None = None  # it matches somewhere in what a failing linker printed
    artifact: ArtifactFacts | None = None
    observed: ObservedFacts | None = None
    exit_code: int | None = None
    machine: MachineFacts | None = None


class Facts(Outcome):
    """Conditions on one finished run: on what it showed and on its command."""

    command: CommandFacts | None = None


_O = TypeVar("_O", bound=Outcome)


def in_range(version: str, versions: Versions) -> bool:
    """Whether a compiler's version is in the range; a nightly, ``1.97.0-nightly``, counts as what it becomes."""
    return SpecifierSet(versions).contains(version.partition("-")[0])


def at_version(facts: _O, on: Mapping[str, Outcome], version: str) -> _O:
    """The conditions as they stand for a compiler version: those of the first range that holds it take precedence."""
    for versions, others in on.items():
        if in_range(version, versions):
            return facts.model_copy(update={name: getattr(others, name) for name in others.model_fields_set})
    return facts
