"""``lessons check --report``: lessons and compilers as one page that needs nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.course import Proof
from app.diagnosis import Diagnosis
from app.lessons import Lesson
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


def report_page(lessons: Sequence[Lesson], diagnosis: Diagnosis, proofs: Sequence[Proof], now: datetime) -> str:
    """The page as HTML: a row for each expectation, a column for each compiler, the newest first."""
    names = sorted({proof.toolchain for proof in proofs}, key=release, reverse=True)
    groups = [(lesson, rows) for lesson in lessons if (rows := _rows(lesson, names, proofs))]
    titles = {known.id: known.title for known in diagnosis.classes}
    failed = sum(bool(proof.problems) for proof in proofs)
    context = {"toolchains": names, "groups": groups, "titles": titles, "failed": failed}
    return page("report.html", now=now, proofs=len(proofs), **context)


def _rows(lesson: Lesson, names: Sequence[str], proofs: Sequence[Proof]) -> list[Row]:
    found = {(one.files, one.command, one.toolchain): one for one in proofs if one.lesson == lesson.slug}
    keys = dict.fromkeys((files, command) for files, command, _ in found)
    return [Row(*key, tuple(_cell(found.get((*key, name))) for name in names)) for key in keys]


def _cell(proof: Proof | None) -> Cell | None:
    return Cell(tuple(sorted(set(proof.classes))), proof.problems, proof.stale) if proof else None
