"""Gather a lesson's guidance for a learner: prediction, hints, the solution as a diff, and earlier versions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from markupsafe import Markup

from app.course.lesson import Lesson
from app.course.specs import Option
from app.progress import Offers, Predicted, fingerprint
from app.web.diff import DiffLine, FileDiff, compare_files
from app.web.render import Patch, made, page
from app.web.state import Playground


@dataclass(frozen=True)
class PredictionStatus:
    """The prediction as the page shows it. ``asked``: nothing has run yet, so the question is still open.

    ``fresh``: the outcome has just become known.
    """

    asked: bool
    ran: bool
    chosen: Option | None = None
    happened: Option | None = None
    toolchain: str | None = None
    fresh: bool = False


@dataclass(frozen=True)
class Guide:
    """The guidance that the page shows besides text, files and result.

    ``opened`` is the number of open hints. ``solution`` is the difference from the learner's files to the solution, or
    None if the learner has not opened it. ``base`` is the fingerprint of the stored texts; ``newest`` is the hint
    opened last.
    """

    opened: int
    solution: tuple[FileDiff, ...] | None
    prediction_status: PredictionStatus
    offers: Offers
    base: str
    newest: int = 0


async def guide_of(home: Playground, seat: str, lesson: Lesson, files: Mapping[str, str]) -> Guide:
    """Return the guidance for a learner with these files in the form."""
    known = await home.progress.guidance(seat, lesson.key)
    shown = known.opened > len(lesson.hints)
    return Guide(
        opened=min(known.opened, len(lesson.hints)),
        solution=difference(lesson, files) if shown else None,
        prediction_status=_status(lesson, known.predicted, ran=known.ran),
        offers=known.offers,
        base=fingerprint(known.files),
    )


async def prediction_status(home: Playground, seat: str, lesson: Lesson) -> PredictionStatus:
    """Return the state of the seat's prediction."""
    predicted, ran = await home.progress.prediction(seat, lesson.key)
    return _status(lesson, predicted, ran=ran)


def _status(lesson: Lesson, predicted: Predicted | None, *, ran: bool) -> PredictionStatus:
    if lesson.prediction is None:
        return PredictionStatus(asked=False, ran=ran)
    options = {option.id: option for option in lesson.prediction.option}
    known = predicted or Predicted("")
    chosen = options.get(known.choice)
    return PredictionStatus(
        asked=chosen is None and not ran,
        ran=ran,
        chosen=chosen,
        happened=options.get(known.happened or ""),
        toolchain=known.toolchain,
    )


def difference(lesson: Lesson, files: Mapping[str, str]) -> tuple[FileDiff, ...]:
    """Return the difference from the learner's own files to the solution."""
    wanted = {path: lesson.solution[path] for path in lesson.editable}
    found = (
        FileDiff(diff.path, tuple(hunk for hunk in diff.hunks if any(_shows(line) for line in hunk.lines)))
        for diff in compare_files({**lesson.files, **files}, wanted)
    )
    return tuple(diff for diff in found if diff.hunks)


def _shows(line: DiffLine) -> bool:
    """Return True if the line is a difference that can be seen: a blank line more or less is none."""
    return line.kind != "same" and bool(line.text.strip())


async def prediction_patch(home: Playground, seat: str, lesson: Lesson, before: PredictionStatus) -> Patch:
    """Return a patch with the prediction's current state; ``before`` is its state at the start of the run."""
    now = await prediction_status(home, seat, lesson)
    html: Markup = made(page("_prediction.html", root=home.root, lesson=lesson, prediction_status=renewed(now, before)))
    return Patch("prediction", html, append=False)


def renewed(now: PredictionStatus, before: PredictionStatus) -> PredictionStatus:
    """Return the current state, marked as fresh if the outcome was not known before."""
    return replace(now, fresh=before.happened is None and now.happened is not None)
