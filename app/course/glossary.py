"""The terms that a course explains, from its ``glossary.toml``."""

from pathlib import Path

from pydantic import Field

from app.course.facts import Content
from app.course.files import CourseError, parse_content


class Term(Content):
    """One term: its spellings in texts, its meaning, and the lesson that teaches it."""

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    name: str = Field(min_length=1)
    match: tuple[str, ...] = ()  # further spellings, such as the plural
    means: str = Field(min_length=1)
    lesson: str | None = None


class _File(Content):
    term: tuple[Term, ...]


Glossary = tuple[Term, ...]


def load_glossary(path: Path) -> Glossary:
    """Load the terms of a ``glossary.toml``, sorted by name; empty if there is no file. Raises ``CourseError``."""
    if not path.exists():
        return ()
    terms = parse_content(path, _File).term
    ids = [term.id for term in terms]
    spellings = [word.lower() for term in terms for word in (term.name, *term.match)]
    for values in (ids, spellings):
        if twice := next((value for value in values if values.count(value) > 1), None):
            raise CourseError(f"{path}: {twice!r} occurs twice")
    return tuple(sorted(terms, key=lambda term: term.name.lower()))
