"""Show a lesson's page as the learner left it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from app.course.lesson import Lesson
from app.protocol.command import LONGEST
from app.web.diff import FileDiff
from app.web.pages.common import Home, Seat, Step, following, in_turn, page_answer, playground_of, seat_of
from app.web.pages.compare import CompilerComparison
from app.web.pages.form import Typed
from app.web.pages.guide import PredictionStatus, guide_of, renewed
from app.web.pages.panel import Panel, last_run, with_same_files
from app.web.pages.startup import meter_of
from app.web.pages.targets import targets_of
from app.web.pages.where import where
from app.web.problem import ProblemError

router = APIRouter()


@router.get("/lessons/{slug}", dependencies=[in_turn])
async def show(request: Request, home: Home, seat: Seat, lesson: Step, command: str = "") -> Response:
    """Show a lesson as the learner left it; the page follows a run that has not ended."""
    await home.classroom.visited(seat, lesson)
    panel, after, toolchain = await last_run(home, seat, lesson)
    form = Typed(
        files=await home.progress.files(seat, lesson.key),
        command=command[:LONGEST] or await home.progress.last_command(seat, lesson.key) or lesson.first_command,
        toolchain=toolchain,
        after=after,
    )
    return await lesson_page(request, lesson, form, panel)


@dataclass(frozen=True)
class Changes:
    """The form's changes since the last run; None if nothing has run."""

    diffs: tuple[FileDiff, ...] | None


async def again(request: Request, lesson: Lesson, form: Typed, changes: Changes | None = None) -> HTMLResponse:
    """Return the page after a form post that ran nothing, with the form's content and the last run."""
    panel, after, _ = await last_run(playground_of(request), seat_of(request), lesson)
    return await lesson_page(request, lesson, form, panel, after=form.after or after, changes=changes)


async def lesson_page(
    request: Request,
    lesson: Lesson,
    form: Typed,
    panel: Panel | None,
    problem: ProblemError | None = None,
    after: str | None = None,
    changes: Changes | None = None,
    before: PredictionStatus | None = None,
    comparison: CompilerComparison | None = None,
) -> HTMLResponse:
    """Return a lesson's page with the form's content, a run, and a problem, if any.

    ``before``: the state of the prediction before that run.
    """
    home, seat = playground_of(request), seat_of(request)
    lessons = home.course_of(lesson).lessons
    number = lessons.index(lesson)
    guide = await guide_of(home, seat, lesson, form.files)
    tools, tools_command = await home.inventory.missing_tools(lesson.needs)
    targets = await targets_of(home, lesson)
    return await page_answer(
        request,
        "lesson.html",
        problem.status if problem else 200,
        lesson=lesson,
        prose=home.prose(lesson),
        modules=home.editor_imports,
        previous=lessons[number - 1] if number else None,
        following=following(home, lesson),
        where=where(home.course_of(lesson), await home.progress.reached(seat), lesson),
        meter=await meter_of(home, seat, lesson),
        guide=replace(guide, prediction_status=renewed(guide.prediction_status, before)) if before else guide,
        files=_files(lesson, form.files),
        shown=form.shown if form.shown in lesson.files else lesson.editable[0],
        command=form.command,
        toolchain=form.toolchain or targets["best"],
        swapped=False,
        tools=tools,
        tools_command=tools_command,
        after=after or form.after,
        problem=problem,
        view="code" if problem else "result" if panel and request.method == "POST" else "text",
        pane=_pane(guide.prediction_status, shows_run=bool(panel or comparison), shows_changes=changes is not None),
        run=await with_same_files(
            home, panel, {**lesson.files, **{path: form.files[path] for path in lesson.editable if path in form.files}}
        ),
        comparison=comparison,
        changes_shown=changes is not None,
        changes=changes.diffs if changes else None,
        **targets,
    )


def _pane(status: PredictionStatus, *, shows_run: bool, shows_changes: bool) -> str:
    """Return the name of the pane of results that the page opens with."""
    if shows_changes:
        return "changes"
    return "prediction" if not shows_run and (status.asked or status.chosen) else "terminal"


def _files(lesson: Lesson, texts: Mapping[str, str]) -> list[Mapping[str, object]]:
    """Return the crate's files for the editor, the editable ones first."""
    found: list[Mapping[str, object]] = []
    for path in dict.fromkeys((*lesson.editable, *lesson.files)):
        editable = path in lesson.editable
        text = texts.get(path, lesson.files[path]) if editable else lesson.files[path]
        rows = min(max(text.count("\n") + 2, 8), 16)
        found.append({"path": path, "text": text, "editable": editable, "rows": rows})
    return found
