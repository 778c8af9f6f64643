"""Error classes, and the advice for each, from a course's ``errors.toml``.

Classification is pure: it takes the text of a message and returns the id of a class. The first matching class in the
file wins, so the order in the file matters.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from app.course.facts import Content
from app.course.files import CourseError, parse_content
from app.course.patterns import Pattern, matches
from app.course.specs import AdviceSpec
from app.course.startup import Link
from app.protocol.events import Diagnostic


class ErrorClass(Content):
    """One kind of error: its id, title and meaning, and how compilers word it.

    ``match`` holds regular expressions that are searched for in the message line (``error[E0152]: …``) and the notes
    below it. ``source`` is where the message comes from: rustc's JSON or cargo's plain text. With ``spans = false`` the
    class matches only a message without spans, which a ``compile_error!`` in the crate cannot produce. ``without``
    names the links between the system and the learner's code that a crate with this error no longer has.
    """

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    title: str = Field(min_length=1)
    means: str = Field(min_length=1)
    match: tuple[Pattern, ...] = Field(min_length=1)
    source: Literal["rustc", "cargo"] = "rustc"
    spans: bool | None = None
    without: tuple[Link, ...] = ()

    def matches(self, diagnostic: Diagnostic, text: str) -> bool:
        """Return True if an error is of this class, apart from its source; ``text`` is what ``said`` returns."""
        if self.spans is not None and self.spans != bool(diagnostic.spans):
            return False
        return any(matches(pattern, text) for pattern in self.match)


class _File(Content):
    error: tuple[ErrorClass, ...] = Field(alias="class")
    advice: tuple[AdviceSpec, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """The content of ``errors.toml``."""

    classes: tuple[ErrorClass, ...]
    advice: tuple[AdviceSpec, ...]

    def classify(self, diagnostic: Diagnostic, source: Literal["rustc", "cargo"]) -> str | None:
        """Return the id of the first class that matches an error, or None."""
        if not diagnostic.level.startswith("error"):
            return None
        text = searched_text(diagnostic)
        for known in self.classes:
            if known.source == source and known.matches(diagnostic, text):
                return known.id
        return None

    def without(self, diagnostic: Diagnostic) -> frozenset[Link]:
        """Return the links that an error shows to be gone, by every class that matches it, not only the first.

        A linker reports all that it misses in one message.
        """
        if not diagnostic.level.startswith("error"):
            return frozenset()
        text = searched_text(diagnostic)
        return frozenset(
            link
            for known in self.classes
            if known.without and known.matches(diagnostic, text)
            for link in known.without
        )


def searched_text(diagnostic: Diagnostic) -> str:
    """Return the text that patterns are searched in: the line of the message, and its notes below."""
    code = f"[{diagnostic.code}]" if diagnostic.code else ""
    level = "error" if diagnostic.level.startswith("error") else diagnostic.level
    return "\n".join((f"{level}{code}: {diagnostic.message}", *diagnostic.notes))


def load_diagnosis(path: Path) -> Diagnosis:
    """Load the error classes and their advice from an ``errors.toml``; raises ``CourseError``."""
    content = parse_content(path, _File)
    ids = [known.id for known in content.error]
    if len(ids) != len(set(ids)):
        raise CourseError(f"{path}: two error classes have the same id")
    return Diagnosis(classes=content.error, advice=content.advice)
