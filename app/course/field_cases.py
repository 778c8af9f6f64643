"""Field cases as data: crates and commands that learners really typed, and what each must be told by which compiler.

``docs/lesson-format.md`` describes a case's folder for authors.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import AfterValidator, Field, ValidationError, field_validator

from app.course.facts import Content, in_range

MANIFEST = "case.toml"
_CHANNELS = ("stable", "nightly")
_VERSION = re.compile(r"\d+\.\d+")
_EDITION = re.compile(r'^edition = "2024"$', re.MULTILINE)
_OLDER = (
    ("<1.85", _EDITION, 'edition = "2021"'),
    ("<1.82", re.compile(r"#\[unsafe\((.*?)\)\]"), r"#[\1]"),
    ("<1.82", re.compile(r'\bunsafe extern "C" \{'), 'extern "C" {'),
)
"""For compilers in a range: a spelling of edition 2024 that they do not know yet, and the one before it."""


class FieldError(Exception):
    """A case that cannot be read or run; the message names the case and the reason."""


def _compilers(text: str) -> str:
    try:
        if text not in _CHANNELS and not _VERSION.fullmatch(text):
            SpecifierSet(text)
    except InvalidSpecifier as error:
        raise ValueError(f"{text!r} is no range of versions, no version, and neither stable nor nightly") from error
    return text


Compilers = Annotated[str, AfterValidator(_compilers)]
"""Some compilers: a range such as ``>=1.82``, one version such as ``1.63``, ``stable`` or ``nightly``."""


def is_among(compilers: Compilers, version: str, *, stable: bool) -> bool:
    """Return True if the compiler of this version is one of ``compilers``."""
    if compilers in _CHANNELS:
        return stable == (compilers == "stable")
    return in_range(version, f"=={compilers}.*" if _VERSION.fullmatch(compilers) else compilers)


def _patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    return patterns


class OrAccepted(Content):
    """The expectation for an accepted command, where a truthful refusal is right as well."""

    reached: bool
    say: tuple[str, ...] = ()

    _readable = field_validator("say")(_patterns)


class Expected(Content):
    """The required outcome of a case. For some compilers, only the fields that differ are given."""

    reached: bool = False
    say: tuple[str, ...] = ()
    not_say: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    accepted: bool = False
    or_accepted: OrAccepted | None = None
    needs_target: bool = True  # without the target's ``core``, the answer is another one

    _readable = field_validator("say", "not_say", "output")(_patterns)


class CaseSpec(Expected):
    """A ``case.toml``."""

    id: str = Field(min_length=1)
    kind: int
    source: str = Field(min_length=1)
    lesson: str
    commands: tuple[str, ...] = Field(min_length=1)
    toolchains: tuple[Compilers, ...] = ()  # only these compilers; empty means all
    why: str = ""  # why only these
    truth: str = Field(min_length=1)
    reached: bool
    say: tuple[str, ...]
    not_say: tuple[str, ...]
    as_written: bool = False  # no compiler gets an older spelling of the files
    on: Mapping[Compilers, Expected] = {}

    def is_for(self, version: str, *, stable: bool) -> bool:
        """Return True if the case makes sense on this compiler."""
        return not self.toolchains or any(is_among(one, version, stable=stable) for one in self.toolchains)

    def at(self, version: str, *, stable: bool) -> Self:
        """Return the case with the expectations for a compiler: the first of ``on`` that it is among."""
        for compilers, other in self.on.items():
            if is_among(compilers, version, stable=stable):
                return self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})
        return self


@dataclass(frozen=True)
class FieldCase:
    """A case and the files beside its ``case.toml``."""

    spec: CaseSpec
    files: Mapping[str, str]

    def files_for(self, version: str) -> Mapping[str, str]:
        """Return the files as a learner with this compiler has them.

        A compiler that does not know edition 2024 makes crates of edition 2021, whose attributes need no ``unsafe``.
        """
        if self.spec.as_written or not any(_EDITION.search(text) for text in self.files.values()):
            return self.files
        files = dict(self.files)
        for versions, newer, older in _OLDER:
            if in_range(version, versions):
                files = {path: newer.sub(older, text) for path, text in files.items()}
        return files


def read_case(folder: Path) -> FieldCase:
    """Read the case in a folder; raises ``FieldError``."""
    path = folder / MANIFEST
    try:
        spec = CaseSpec.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        files = {
            one.relative_to(folder).as_posix(): one.read_bytes().decode()
            for one in sorted(folder.rglob("*"))
            if one.is_file() and one != path
        }
    except ValidationError as error:
        wrong = (f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors())
        raise FieldError(f"{path}: {'; '.join(wrong)}") from error
    except (OSError, ValueError) as error:
        raise FieldError(f"{path}: {error}") from error
    if spec.id != folder.name:
        raise FieldError(f"{path}: id: the folder is called {folder.name}")
    return FieldCase(spec, files)


def cases_below(folders: Iterable[Path]) -> list[FieldCase]:
    """Read every case below the folders; raises ``FieldError``."""
    found = [read_case(path.parent) for folder in folders for path in sorted(folder.rglob(MANIFEST))]
    if not found:
        raise FieldError(f"There is no {MANIFEST} below these folders.")
    return found
