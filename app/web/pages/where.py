"""Locate a learner in the course: its parts, and the progress in each."""

from collections.abc import Collection
from dataclasses import dataclass

from app.course import Course, Lesson


@dataclass(frozen=True)
class PartProgress:
    """A part of the course for one learner; ``reached`` are the keys of its reached lessons."""

    about: str
    title: str
    beyond: bool
    lessons: tuple[Lesson, ...]
    reached: frozenset[str]

    @property
    def minutes(self) -> int:
        """The time that the lessons take that are not reached yet."""
        return sum(lesson.minutes for lesson in self.lessons if lesson.key not in self.reached)

    @property
    def complete(self) -> bool:
        """True if every lesson is reached."""
        return len(self.reached) == len(self.lessons)


@dataclass(frozen=True)
class CourseProgress:
    """The course for one learner, seen from the lesson ``current``, or from the map if that is None."""

    parts: tuple[PartProgress, ...]
    current: Lesson | None = None

    @property
    def part(self) -> PartProgress:
        """The part of the current lesson; the first part for the map."""
        return next((part for part in self.parts if self.current in part.lessons), self.parts[0])

    @property
    def position(self) -> int:
        """The position of the current lesson in its part, from 1; 0 for the map."""
        return self.part.lessons.index(self.current) + 1 if self.current else 0


def where(course: Course, reached: Collection[str], current: Lesson | None = None) -> CourseProgress:
    """Return the course for a learner who has reached these lessons."""
    parts: list[PartProgress] = []
    for part in course.parts:
        known = frozenset(lesson.key for lesson in part.lessons if lesson.key in reached)
        parts.append(PartProgress(part.about, part.title, part.beyond, part.lessons, known))
    return CourseProgress(tuple(parts), current)
