"""Lessons and compilers, as last proven: a page of the course, and a file that needs nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from app.course import Course, Lesson
from app.course.prove import CourseReport, Proof
from app.toolchain.model import release
from app.web.render import page


@dataclass(frozen=True)
class Cell:
    """What one compiler said to one pair of files and command; None in the page where nothing was run."""

    classes: tuple[str, ...]
    problems: tuple[str, ...]
    stale: bool


@dataclass(frozen=True)
class Row:
    """One expectation of a lesson on every compiler; ``differ``: not all said the same."""

    files: str
    command: str
    cells: tuple[Cell | None, ...]

    @property
    def differ(self) -> bool:
        """Whether the compilers that were asked said different things."""
        return len({cell.classes for cell in self.cells if cell}) > 1


def report_page(courses: Sequence[Course], report: CourseReport, style: str) -> str:
    """The file as HTML; ``style`` is the matrix's own sheet."""
    return page("report.html", style=Markup(style), **matrix(courses, report))  # noqa: S704 - ours


def of_course(report: CourseReport, course: Course) -> tuple[Proof, ...]:
    """Return the proofs that are about a course's lessons."""
    names = {lesson.name for lesson in course.lessons}
    return tuple(proof for proof in report.proofs if proof.lesson in names)


def matrix(courses: Sequence[Course], report: CourseReport) -> dict[str, Any]:
    """What the templates show: a row for each expectation, a column for each compiler, the newest first."""
    found = [(course, of_course(report, course)) for course in courses]
    proofs = [proof for _, ours in found for proof in ours]
    names = sorted({proof.toolchain for proof in proofs}, key=release, reverse=True)
    groups = [
        (lesson, rows, {known.id: known.title for known in course.diagnosis.classes})
        for course, ours in found
        for lesson in course.lessons
        if (rows := _rows(lesson, names, ours))
    ]
    failed = sum(bool(proof.problems) for proof in proofs)
    return {"compilers": names, "groups": groups, "failed": failed, "now": report.at, "proofs": len(proofs)}


def _rows(lesson: Lesson, names: Sequence[str], proofs: Sequence[Proof]) -> list[Row]:
    found = {(one.files, one.command, one.toolchain): one for one in proofs if one.lesson == lesson.name}
    keys = dict.fromkeys((files, command) for files, command, _ in found)
    return [Row(*key, tuple(_cell(found.get((*key, name))) for name in names)) for key in keys]


def _cell(proof: Proof | None) -> Cell | None:
    return Cell(tuple(sorted(set(proof.classes))), proof.problems, proof.stale) if proof else None
