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
from app.protocol.events import Diagnostic


class ErrorClass(Content):
    """One kind of error: its id, title and meaning, and how compilers word it.

    ``match`` holds regular expressions that are searched for in the message line (``error[E0152]: …``) and the notes
    below it. ``source`` is where the message comes from: rustc's JSON or cargo's plain text. With ``spans = false`` the
    class matches only a message without spans, which a ``compile_error!`` in the crate cannot produce.
    """

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    title: str = Field(min_length=1)
    means: str = Field(min_length=1)
    match: tuple[Pattern, ...] = Field(min_length=1)
    source: Literal["rustc", "cargo"] = "rustc"
    spans: bool | None = None


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
        for candidate in self.classes:
            if candidate.source != source or candidate.spans not in (None, bool(diagnostic.spans)):
                continue
            if any(matches(pattern, text) for pattern in candidate.match):
                return candidate.id
        return None


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
