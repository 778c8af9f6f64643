"""The course map, and forgetting a learner."""

from collections.abc import Mapping, Sequence

import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from app.course.lessons import Lesson
from app.course.prove import Report, last_report
from app.web.guard import OLD_NAME
from app.web.pages.common import Home, Seat, Step, fragment, in_turn, page_answer
from app.web.pages.where import where
from app.web.problem import ProblemError
from app.web.report import matrix
from app.web.state import Playground

router = APIRouter()


@router.get("/", dependencies=[in_turn])
async def course(request: Request, home: Home, seat: Seat, forgotten: bool = False) -> Response:
    """The course map."""
    reached = await home.progress.reached(seat)
    last = await home.progress.last_lesson(seat)
    return await page_answer(
        request,
        "index.html",
        where=where(home.course, reached),
        last=last,
        next=_continue(home.course.lessons, reached, last),
        begun=bool(reached or last),
        report=await _report(home),
        note="Everything that was stored of you is deleted." if forgotten else "",
    )


@router.get("/progress/{slug}", dependencies=[in_turn])
async def progress(home: Home, seat: Seat, lesson: Step) -> Response:
    """The course's progress as it stands in the bar above a lesson, when another tab has gone on."""
    reached = await home.progress.reached(seat)
    return fragment(home, "_progress.html", where=where(home.course, reached, lesson))


@router.get("/glossary", dependencies=[in_turn])
async def glossary(request: Request, home: Home) -> Response:
    """The words of the course."""
    steps = {lesson.slug: lesson for lesson in home.course.lessons}
    return await page_answer(request, "glossary.html", glossary=home.course.glossary, steps=steps)


@router.get("/compilers", dependencies=[in_turn])
async def compilers(request: Request, home: Home) -> Response:
    """What each compiler says to each lesson, as ``lessons check --report`` has found it."""
    report = await _report(home)
    if report is None:
        sentence = "The course has not been proven here yet: `playground lessons check --report FILE` does it."
        raise ProblemError(404, "not-proven", sentence)
    return await page_answer(request, "compilers.html", **matrix(home.course.lessons, home.course.diagnosis, report))


@router.post("/forget")
async def forget(request: Request, home: Home, seat: Seat) -> Response:
    """Delete all that is stored of this seat."""
    await home.forget(seat)
    answer = RedirectResponse(f"{home.root}/?forgotten=1", status_code=303)
    for name in (request.state.seat_cookie, OLD_NAME):
        # A browser ignores a prefixed cookie that is not Secure, also one that deletes.
        answer.delete_cookie(
            name, home.root or "/", secure=request.url.scheme == "https", httponly=True, samesite="lax"
        )
    return answer


async def _report(home: Playground) -> Report | None:
    return await anyio.to_thread.run_sync(last_report, home.settings.data_dir)


def _continue(lessons: Sequence[Lesson], reached: Mapping[str, object], last: str | None) -> Lesson | None:
    """The step to go on with: the one last tried if it is open, else the next open one after it, if any is open."""
    start = next((number for number, lesson in enumerate(lessons) if lesson.slug == last), 0)
    ahead = [*lessons[start:], *lessons[:start]]
    return next((lesson for lesson in ahead if lesson.slug not in reached), None)
