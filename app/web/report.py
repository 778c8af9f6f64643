"""Show the matrix of lessons and compilers as last proven, as a page of the course and as a self-contained file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from app.course import Course, Lesson
from app.course.prove import CourseReport, Proof
from app.protocol.machine import compiler_title
from app.toolchain.model import release
from app.web.render import page


@dataclass(frozen=True)
class Cell:
    """One compiler's answer to one pair of files and command."""

    classes: tuple[str, ...]
    problems: tuple[str, ...]
    stale: bool


@dataclass(frozen=True)
class Row:
    """An expectation of a lesson on every compiler; a cell is None if nothing was run there."""

    files: str
    command: str
    cells: tuple[Cell | None, ...]

    @property
    def differ(self) -> bool:
        """Return True if the compilers gave different answers."""
        return len({cell.classes for cell in self.cells if cell}) > 1


def report_page(courses: Sequence[Course], report: CourseReport, style: str) -> str:
    """Return the self-contained file as HTML; ``style`` is the matrix's style sheet."""
    return page("report.html", style=Markup(style), **matrix(courses, report))  # noqa: S704 - our own file


def of_course(report: CourseReport, course: Course) -> tuple[Proof, ...]:
    """Return the proofs of a course's lessons."""
    names = {lesson.name for lesson in course.lessons}
    return tuple(proof for proof in report.proofs if proof.lesson in names)


def matrix(courses: Sequence[Course], report: CourseReport) -> dict[str, Any]:
    """Return the templates' context: a row for each expectation, a column for each compiler, the newest first."""
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
    compilers = [compiler_title(name, stable=name not in report.nightlies) for name in names]
    return {"compilers": compilers, "groups": groups, "failed": failed, "now": report.at, "proofs": len(proofs)}


def _rows(lesson: Lesson, names: Sequence[str], proofs: Sequence[Proof]) -> list[Row]:
    cells = {
        (one.files, one.command, one.toolchain): Cell(tuple(sorted(set(one.classes))), one.problems, one.stale)
        for one in proofs
        if one.lesson == lesson.name
    }
    keys = dict.fromkeys((files, command) for files, command, _ in cells)
    return [Row(*key, tuple(cells.get((*key, name)) for name in names)) for key in keys]
