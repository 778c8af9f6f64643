"""What a lesson can ask of a run, as data: the shape that lessons and error classes share.

A ``Facts`` names conditions on a finished run. Every field that is set must hold. It looks at what was run, what the
compiler said and what is in the binary, never at the learner's files. Only a ``Situation``, for which advice is
written, may ask about those as well.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeVar

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from app.course.patterns import Pattern
from app.crate import Fault
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
    artifact: ArtifactFacts | None = None
    observed: ObservedFacts | None = None
    exit_code: int | None = None
    machine: MachineFacts | None = None


class Facts(Outcome):
    """Conditions on one finished run: on what it showed and on its command."""

    command: CommandFacts | None = None


class SourceFacts(Content):
    """Conditions on ``src/main.rs`` by what it contains, such as ``#![no_std]``; ``*`` stands for any characters."""

    has: tuple[str, ...] = ()  # all of these
    any: tuple[str, ...] = ()  # one of these at least
    lacks: tuple[str, ...] = ()  # none of these
    twice: tuple[str, ...] = ()  # each of these at least twice
    commented: tuple[str, ...] = ()  # all of these, in comments
    blank: bool | None = None  # nothing but comments
    broken: bool | None = None  # there is a syntax error


class TableFacts(Content):
    """Conditions on a TOML file by its keys, such as ``profile.dev.panic = "abort"``; ``*`` as above."""

    has: tuple[str, ...] = ()
    any: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    fault: tuple[Fault, ...] | None = None  # it cannot be read, for one of these reasons


class Situation(Facts):
    """When an advice is given: facts of the run, of its command and of the learner's files.

    ``errors`` asks for any of its classes, and errors that the goal asks for do not count.
    """

    only: bool | None = None  # whether ``errors`` are all that there are
    message: tuple[Pattern, ...] = ()  # one of these matches in an error that the goal does not ask for
    warning: Pattern | None = None  # it matches in a warning
    typed: tuple[str, ...] = ()  # each of these is a word of the command
    target: tuple[str, ...] = ()  # the command builds for one of these; "host" for this computer
    own_target: bool | None = None  # whether that is what the step is about
    step: Literal["earlier", "later"] | None = None  # the run reaches the goal of such a step
    compilers: Versions | None = None
    lookalike: bool | None = None  # a character in a broken file only looks like another one
    main: SourceFacts | None = None
    manifest: TableFacts | None = None
    config: TableFacts | None = None
    toml: TableFacts | None = None  # either of the two

    @model_validator(mode="after")
    def _only_of_errors(self) -> Self:
        if self.only is not None and not self.errors:
            raise ValueError("only says something about errors, and none are named")
        return self


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
