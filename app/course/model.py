"""The types of a course: ``Course``, its ``Part``s and the ``Post`` that it follows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import Field

from app.course.diagnosis import Diagnosis
from app.course.facts import Content
from app.course.glossary import Glossary
from app.course.lesson import Lesson
from app.course.specs import NEIGHBOURS


class Post(Content):
    """The post that a course follows, with what the pages need to credit it.

    ``licence`` and ``series`` are Markdown. ``sections`` maps each heading to its anchor in the post.
    """

    title: str = Field(min_length=1)
    author: str = Field(min_length=1)
    address: str = Field(pattern=r"^https?://")
    licence: str = Field(min_length=1)
    series: str = ""
    sections: Mapping[str, str] = Field(min_length=1)

    def link(self, section: str) -> str:
        """Return the address of a section of the post."""
        anchor = self.sections.get(section, "")
        return f"{self.address}#{anchor}" if anchor else self.address


@dataclass(frozen=True)
class Part:
    """A part of a course: steps of the post itself or, if ``beyond`` is True, lessons that go further than the post."""

    title: str
    lessons: tuple[Lesson, ...]
    beyond: bool = False
    about: str = ""


@dataclass(frozen=True)
class Course:
    """One course with its lessons.

    ``id`` is the name of its folder. ``digest`` is the SHA-256, in hexadecimal, of the files that the course consists
    of, so that two machines can tell whether they have the same course. ``crate`` is the name of the crate that
    learners build, and ``essential_targets`` are the triples that the course requires. ``base`` is the path prefix of
    the course's pages, empty for the default course, and ``map`` is the path of the course map.
    """

    id: str
    digest: str
    title: str
    intro: str
    post: Post
    parts: tuple[Part, ...]
    diagnosis: Diagnosis
    glossary: Glossary
    crate: str
    essential_targets: tuple[str, ...]
    folder: Path
    base: str = ""
    map: str = "/"

    def at(self, base: str, course_map: str) -> "Course":
        """Return a copy of the course with its pages at these paths."""
        parts = (
            replace(part, lessons=tuple(replace(one, base=base, map=course_map) for one in part.lessons))
            for part in self.parts
        )
        return replace(self, parts=tuple(parts), base=base, map=course_map)

    @property
    def lessons(self) -> tuple[Lesson, ...]:
        """Every lesson, in course order."""
        return tuple(lesson for part in self.parts for lesson in part.lessons)

    def lesson(self, slug: str) -> Lesson | None:
        """Return the lesson of that slug, or None."""
        return next((lesson for lesson in self.lessons if lesson.slug == slug), None)

    def up_to(self, lesson: Lesson) -> tuple[Lesson, ...]:
        """Return the lessons before this one, and this one, in course order."""
        lessons = self.lessons
        return lessons[: next(number for number, one in enumerate(lessons, 1) if one.slug == lesson.slug)]

    def beside(self, lesson: Lesson, name: str) -> Lesson | None:
        """Return the ``previous`` or the ``next`` lesson, or None at the course's end."""
        lessons = self.lessons
        at = next(number for number, one in enumerate(lessons) if one.slug == lesson.slug)
        at += 1 if name == "next" else -1
        return lessons[at] if 0 <= at < len(lessons) else None

    def files_of(self, lesson: Lesson, name: str) -> Mapping[str, str]:
        """Return the files of ``start``, of ``solution``, of a variant, or those that a learner brings along.

        The files of ``previous`` and ``next`` are that lesson's solution, as far as this one lets a learner edit them.
        """
        if name not in NEIGHBOURS:
            return lesson.crate(name)
        other = self.beside(lesson, name)
        brought = other.solution if other else {}
        return {**lesson.files, **{path: brought[path] for path in lesson.editable if path in brought}}
