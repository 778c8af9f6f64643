"""Show the list of courses, the course map, the glossary and the compilers, and delete a learner's data."""

from collections.abc import Mapping, Sequence

import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from app.course import Course, Lesson
from app.course.prove import CourseReport, last_report
from app.web.guard import OLD_NAME
from app.web.pages.common import Home, Seat, Step, Taught, fragment, in_turn, page_answer
from app.web.pages.startup import meter_of
from app.web.pages.where import where
from app.web.problem import not_proven
from app.web.report import matrix, of_course
from app.web.state import Playground
from app.web.words import FORGOTTEN

router = APIRouter()
courses = APIRouter()


@router.get("/", dependencies=[in_turn])
async def start(request: Request, home: Home, seat: Seat, forgotten: bool = False) -> Response:
    """Show the courses, or the map of the only one."""
    note = FORGOTTEN if forgotten else ""
    if len(home.shelf.courses) == 1:
        return await _map(request, home, seat, home.shelf.default, note)
    reached = await home.progress.reached(seat)
    known = [(each, sum(lesson.key in reached for lesson in each.lessons)) for each in home.shelf.courses]
    return await page_answer(request, "courses.html", courses=known, broken=home.shelf.broken, note=note)


@router.get("/courses/{course}", dependencies=[in_turn])
async def course_map(request: Request, home: Home, seat: Seat, course: Taught) -> Response:
    """Show the course map."""
    return await _map(request, home, seat, course)


async def _map(request: Request, home: Playground, seat: str, course: Course, note: str = "") -> Response:
    reached = await home.progress.reached(seat)
    last = await home.progress.last_lesson(seat, [lesson.key for lesson in course.lessons])
    report = await _report(home)
    return await page_answer(
        request,
        "index.html",
        course=course,
        broken=home.shelf.broken,
        where=where(course, reached),
        last=last,
        next=_next_lesson(course.lessons, reached, last),
        begun=bool(last) or any(lesson.key in reached for lesson in course.lessons),
        report=report if report and of_course(report, course) else None,
        note=note,
    )


@courses.get("/progress/{slug}", dependencies=[in_turn])
async def progress(home: Home, seat: Seat, lesson: Step) -> Response:
    """Return what is above a lesson, progress bar and meter, for a tab that learns of progress in another one."""
    reached = await home.progress.reached(seat)
    here = where(home.course_of(lesson), reached, lesson)
    return fragment(home, "_header.html", where=here, meter=await meter_of(home, seat, lesson))


@courses.get("/glossary", dependencies=[in_turn])
async def glossary(request: Request, course: Taught) -> Response:
    """Show the terms of the course."""
    steps = {lesson.slug: lesson for lesson in course.lessons}
    return await page_answer(request, "glossary.html", course=course, glossary=course.glossary, steps=steps)


@courses.get("/compilers", dependencies=[in_turn])
async def compilers(request: Request, home: Home, course: Taught) -> Response:
    """Show each compiler's answer to each lesson, from the latest ``lessons check --report``."""
    report = await _report(home)
    if report is None or not of_course(report, course):
        raise not_proven()
    return await page_answer(request, "compilers.html", course=course, **matrix((course,), report))


@router.post("/forget")
async def forget(request: Request, home: Home, seat: Seat) -> Response:
    """Delete everything stored for this seat."""
    await home.forget(seat)
    answer = RedirectResponse(f"{home.root}/?forgotten=1", status_code=303)
    for name in (request.state.seat_cookie, OLD_NAME):
        # A browser ignores a prefixed cookie without Secure, even when it deletes one.
        answer.delete_cookie(
            name, home.root or "/", secure=request.url.scheme == "https", httponly=True, samesite="lax"
        )
    return answer


async def _report(home: Playground) -> CourseReport | None:
    return await anyio.to_thread.run_sync(last_report, home.settings.data_dir)


def _next_lesson(lessons: Sequence[Lesson], reached: Mapping[str, object], last: str | None) -> Lesson | None:
    """Return the lesson to continue with: the last one tried or, if that is reached, the next open one, if any."""
    start = next((number for number, lesson in enumerate(lessons) if lesson.key == last), 0)
    ahead = [*lessons[start:], *lessons[:start]]
    return next((lesson for lesson in ahead if lesson.key not in reached), None)
