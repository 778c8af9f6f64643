"""Where a learner is in the course: its two parts, and how much of each is reached."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from app.course.lessons import Lesson


@dataclass(frozen=True)
class Part:
    """The post's steps, or what goes beyond the post."""

    bonus: bool
    lessons: tuple[Lesson, ...]
    reached: frozenset[str]

    @property
    def minutes(self) -> int:
        """How long the lessons take that are not reached yet."""
        return sum(lesson.minutes for lesson in self.lessons if lesson.slug not in self.reached)

    @property
    def complete(self) -> bool:
        """Whether every lesson is reached."""
        return len(self.reached) == len(self.lessons)


@dataclass(frozen=True)
class Where:
    """The course for one learner, seen from ``current`` or, where that is None, from the map."""

    parts: tuple[Part, ...]
    current: Lesson | None = None

    @property
    def part(self) -> Part:
        """The part that the current lesson is in; the first one for the map."""
        bonus = self.current.bonus if self.current else False
        return next((part for part in self.parts if part.bonus == bonus), self.parts[0])

    @property
    def position(self) -> int:
        """Which lesson of its part the current one is, from 1."""
        return self.part.lessons.index(self.current) + 1 if self.current else 0


def where(lessons: Sequence[Lesson], reached: Collection[str], current: Lesson | None = None) -> Where:
    """The course in its parts; a part without lessons is left out, unless it is the post's."""
    parts = []
    for bonus in (False, True):
        chosen = tuple(lesson for lesson in lessons if lesson.bonus == bonus)
        if chosen or not bonus:
            parts.append(Part(bonus, chosen, frozenset(each.slug for each in chosen if each.slug in reached)))
    return Where(tuple(parts), current)
