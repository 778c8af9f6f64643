"""The course's words and what they mean, from ``lessons/glossary.toml``."""

from pathlib import Path

from pydantic import Field

from app.course.facts import Content
from app.course.lessons import LessonError, parse_content


class Term(Content):
    """One word: how it is written in texts, what it means, and the lesson that is about it."""

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    name: str = Field(min_length=1)
    match: tuple[str, ...] = ()  # further ways to write it, such as its plural
    means: str = Field(min_length=1)
    lesson: str | None = None


class _File(Content):
    term: tuple[Term, ...]


Glossary = tuple[Term, ...]


def load_glossary(path: Path) -> Glossary:
    """The terms of a file such as ``lessons/glossary.toml``, by name; none without a file. Raises ``LessonError``."""
    if not path.exists():
        return ()
    terms = parse_content(path, _File).term
    for values in ([term.id for term in terms], [word.lower() for term in terms for word in (term.name, *term.match)]):
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice:
            raise LessonError(f"{path}: {twice!r} stands twice")
    return tuple(sorted(terms, key=lambda term: term.name.lower()))
