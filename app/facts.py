"""What a lesson can ask of a run, as data: the shape that lessons and error classes share.

A ``Facts`` names conditions on a finished run. Every field that is set must hold. Nothing here
looks at the text of the learner's code: only at what was run, what the compiler said and what
is in the binary.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import AfterValidator, BaseModel, ConfigDict


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


class ArtifactFacts(Content):
    """Conditions on the artefact, as ``binary.py`` reads it; a tuple of alternatives where one is not enough."""

    format: str | None = None
    machine: tuple[str, ...] | None = None  # one of these
    entry_symbol: str | None = None
    needed: tuple[str, ...] | None = None  # exactly these libraries
    interpreter: Literal["none", "any"] | None = None
    runtime: tuple[str, ...] | None = None  # exactly these symbols of the C runtime


class Facts(Content):
    """Conditions on one finished run."""

    status: Literal["ok", "failed", "timeout", "cancelled", "limit"] | None = None
    errors: tuple[str, ...] | None = None  # exactly these error classes; an error without a class is one too many
    output: str | None = None  # a regular expression that matches somewhere in what was printed
    command: CommandFacts | None = None
    artifact: ArtifactFacts | None = None


class VersionedFacts(Facts):
    """Facts with other values for some compilers: ``on."<1.70".errors = [...]``."""

    on: Mapping[Versions, Facts] = {}

    def for_version(self, version: str) -> Self:
        """These facts as they stand for that compiler version; the first range that holds it wins."""
        for versions, facts in self.on.items():
            if SpecifierSet(versions, prereleases=True).contains(version):
                return self.model_copy(update=_models(facts))
        return self


def _models(facts: Facts) -> dict[str, object]:
    return {name: getattr(facts, name) for name in facts.model_fields_set}
