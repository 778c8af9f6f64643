"""Conditions on a finished run, as data: the models that lessons and advice share.

A ``Facts`` names conditions on a finished run. Every field that is set must hold. It looks at what was run, what the
compiler said and what is in the binary, never at the learner's files. Only a ``Situation``, for which advice is
written, may ask about those as well.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeVar

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from app.course.crate import Fault
from app.course.patterns import Pattern
from app.protocol.events import Ended, Reason


def _specifier(text: str) -> str:
    try:
        SpecifierSet(text)
    except InvalidSpecifier as error:
        raise ValueError(f"{text!r} is no range of versions, such as '<1.70' or '>=1.95,<1.97'") from error
    return text


VersionRange = Annotated[str, AfterValidator(_specifier)]
"""A range of compiler versions in the notation of Python packaging: ``<1.70``, ``>=1.82``, ``==1.95``."""


class Content(BaseModel):
    """A table in a content file. Unknown keys are errors, so that a misspelled key is found."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CommandFacts(Content):
    """Conditions on the command. Aliases such as ``cargo b`` count as their long form."""

    program: str
    subcommand: tuple[str, ...] = ()  # one of these; empty allows any
    flags_by_hand: bool | None = None  # compiler or linker flags were on the command line
    target: bool | None = None  # --target named a triple other than the host's
    options: tuple[str, ...] = ()  # all of these were on the command line


class ArtifactFacts(Content):
    """Conditions on the artifact, in the values that ``app.binary`` reports."""

    format: str | None = None
    machine: tuple[str, ...] | None = None  # one of these
    entry: Literal["zero", "set"] | None = None
    entry_symbol: str | None = None
    needed: tuple[str, ...] | None = None  # exactly these libraries
    interpreter: Literal["none", "any"] | None = None
    runtime: tuple[str, ...] | None = None  # exactly these symbols of the C runtime
    subsystem: str | None = None  # of a PE file: console, windows, …


class ObservedFacts(Content):
    """Conditions on how the program behaved when it ran."""

    outcome: Literal["running", "exited", "killed"] | None = None
    reason: tuple[Reason, ...] | None = None  # one of these
    exit_code: int | None = None
    calls: tuple[str, ...] | None = None  # exactly these system calls in this order; only the first 16 are recorded


class MachineFacts(Content):
    """Conditions on the emulated machine."""

    ended: tuple[Ended | Literal["none"], ...] | None = None  # one of these; "none" means that no machine was started
    screen: Pattern | None = None  # matches somewhere on the text screen, where each row is a line


class RunFacts(Content):
    """Conditions on the result of a finished run. Only the fields that are given are conditions."""

    status: Literal["ok", "failed", "timeout", "cancelled", "limit"] | None = None
    errors: tuple[str, ...] | None = None  # exactly these error classes, and no error without a class
    output: Pattern | None = None  # matches somewhere in the output
    linker: Pattern | None = None  # matches somewhere in what a failing linker printed
    artifact: ArtifactFacts | None = None
    observed: ObservedFacts | None = None
    exit_code: int | None = None
    machine: MachineFacts | None = None


class Facts(RunFacts):
    """Conditions on a finished run: on its result and on its command."""

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
    compilers: VersionRange | None = None
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


_O = TypeVar("_O", bound=RunFacts)


def in_range(version: str, versions: VersionRange) -> bool:
    """Return True if a compiler's version is in the range. ``1.97.0-nightly`` counts as the release 1.97.0."""
    return SpecifierSet(versions).contains(version.partition("-")[0])


def at_version(facts: _O, on: Mapping[str, RunFacts], version: str) -> _O:
    """Return the conditions for a compiler version: ``facts``, overridden by the first range in ``on`` that matches."""
    for versions, others in on.items():
        if in_range(version, versions):
            return facts.model_copy(update={name: getattr(others, name) for name in others.model_fields_set})
    return facts
