"""Where a learner is in the course: its parts, and how much of each is reached."""

from collections.abc import Collection
from dataclasses import dataclass

from app.course import Course, Lesson, Part


@dataclass(frozen=True)
class PartProgress:
    """A part of the course for one learner: which of its lessons are reached, by their keys."""

    about: str
    title: str
    beyond: bool
    lessons: tuple[Lesson, ...]
    reached: frozenset[str]

    @property
    def minutes(self) -> int:
        """How long the lessons take that are not reached yet."""
        return sum(lesson.minutes for lesson in self.lessons if lesson.key not in self.reached)

    @property
    def complete(self) -> bool:
        """Whether every lesson is reached."""
        return len(self.reached) == len(self.lessons)


@dataclass(frozen=True)
class CourseProgress:
    """The course for one learner, seen from ``current`` or, where that is None, from the map."""

    parts: tuple[PartProgress, ...]
    current: Lesson | None = None

    @property
    def part(self) -> PartProgress:
        """The part that the current lesson is in; the first one for the map."""
        return next((part for part in self.parts if self.current in part.lessons), self.parts[0])

    @property
    def position(self) -> int:
        """Which lesson of its part the current one is, from 1."""
        return self.part.lessons.index(self.current) + 1 if self.current else 0


def where(course: Course, reached: Collection[str], current: Lesson | None = None) -> CourseProgress:
    """Return the course as a learner who has reached these lessons sees it."""
    return CourseProgress(tuple(_stretch(part, reached) for part in course.parts), current)


def _stretch(part: Part, reached: Collection[str]) -> PartProgress:
    known = frozenset(lesson.key for lesson in part.lessons if lesson.key in reached)
    return PartProgress(part.about, part.title, part.beyond, part.lessons, known)
