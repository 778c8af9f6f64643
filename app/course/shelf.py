"""The courses in one folder: those that loaded, and why the others did not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.course.files import CourseError
from app.course.lesson import Lesson
from app.course.loading import MANIFEST, load_course
from app.course.model import Course


@dataclass(frozen=True)
class Shelf:
    """The courses that loaded, the default first, and for each broken one a sentence under its folder's name."""

    courses: tuple[Course, ...]
    broken: Mapping[str, str] = field(default_factory=dict)

    @property
    def default(self) -> Course:
        """The course that a lesson's slug without a course refers to."""
        return self.courses[0]

    @property
    def lessons(self) -> tuple[Lesson, ...]:
        """Every lesson of every course."""
        return tuple(lesson for course in self.courses for lesson in course.lessons)

    def course(self, course_id: str) -> Course | None:
        """Return the course of that id, or None."""
        return next((course for course in self.courses if course.id == course_id), None)

    def course_of(self, lesson: Lesson) -> Course:
        """Return the course of a lesson from this shelf."""
        return next(course for course in self.courses if course.id == lesson.course)

    @property
    def essential_targets(self) -> tuple[str, ...]:
        """The triples that at least one course requires, without duplicates."""
        return tuple(dict.fromkeys(target for course in self.courses for target in course.essential_targets))

    def find(self, name: str) -> Lesson | None:
        """Return the lesson named ``course/slug``, or ``slug`` for the default course; None if there is none."""
        head, slash, slug = name.partition("/")
        course = self.course(head) if slash else self.default
        return course.lesson(slug if slash else head) if course else None


def load_shelf(folder: Path, default: str = "") -> Shelf:
    """Load a course, or every course in a folder of courses.

    ``default`` is the id of the default course; if empty, the first by name. Raises ``CourseError`` if no course loads
    or the default course does not.
    """
    if not folder.is_dir():
        raise CourseError(f"{folder}: there is no such folder of courses")
    loaded: list[Course] = []
    broken: dict[str, str] = {}
    for each in _folders(folder):
        try:
            loaded.append(load_course(each))
        except CourseError as error:
            broken[each.name] = str(error)
    if default in broken or not loaded:
        raise CourseError(broken.get(default) or next(iter(broken.values()), f"{folder}: there is no course in it"))
    if default and not any(course.id == default for course in loaded):
        names = ", ".join(course.id for course in loaded)
        raise CourseError(f"{folder}: there is no course {default!r}, which PLAYGROUND_COURSE names; there is {names}")
    first, *others = sorted(loaded, key=lambda course: course.id != default)
    # The default course's addresses have no id, except for its map beside other courses, because `/` lists them all.
    placed = first.at("", f"/courses/{first.id}" if others else "/")
    return Shelf((placed, *(each.at(f"/courses/{each.id}", f"/courses/{each.id}") for each in others)), broken)


def _folders(folder: Path) -> Iterator[Path]:
    """Yield the folder itself if it holds a course, even one without a manifest; else its subfolders."""
    if (folder / MANIFEST).exists() or any(folder.glob("*/lesson.toml")):
        yield folder
    else:
        yield from sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
