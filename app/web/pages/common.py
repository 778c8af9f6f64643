"""Provide the parts that every page needs: playground, seat, the address's lesson, and the frame around the content."""

from collections.abc import AsyncIterator, Mapping
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from app import __version__
from app.course import Course, Lesson
from app.protocol.machine import ToolchainInfo
from app.toolchain import preferred
from app.web.pages.form import Typed
from app.web.problem import ProblemError
from app.web.render import page
from app.web.state import Playground
from app.web.words import footer_toolchain


def playground_of(request: Request) -> Playground:
    """Return the playground of this process."""
    playground: Playground = request.app.state.playground
    return playground


def seat_of(request: Request) -> str:
    """Return the seat that the guard read from the cookie, or issues with this answer."""
    seat: str = request.state.seat
    return seat


# These dependencies are async because FastAPI would run plain functions in a thread for each request.
async def _home(request: Request) -> Playground:
    return playground_of(request)


async def _seat(request: Request) -> str:
    return seat_of(request)


async def _course(request: Request) -> Course:
    return playground_of(request).course(request.path_params.get("course"))


async def _lesson(slug: str, request: Request) -> Lesson:
    return playground_of(request).lesson(slug, request.path_params.get("course"))


async def _turn(request: Request) -> AsyncIterator[None]:
    async with playground_of(request).page_lock(request.state.queue_owner):
        yield


in_turn = Depends(_turn, scope="function")
"""For pages that are quick to render and requested often: render one at a time for each owner."""

Home = Annotated[Playground, Depends(_home)]
Seat = Annotated[str, Depends(_seat)]
Taught = Annotated[Course, Depends(_course)]
Step = Annotated[Lesson, Depends(_lesson)]


async def page_answer(request: Request, template: str, status: int = 200, **context: object) -> HTMLResponse:
    """Return a whole page; its course is ``course``, else that of ``lesson``, else the default one."""
    playground = playground_of(request)
    lesson = context.get("lesson")
    course = playground.course_of(lesson) if isinstance(lesson, Lesson) else playground.shelf.default
    toolchains = await playground.inventory.toolchains()
    nonce: str = request.state.style_nonce
    context = {
        "classroom": await playground.classroom.strip(seat_of(request)),
        "at": lesson.key if isinstance(lesson, Lesson) and template == "lesson.html" else "",
        "course": course,
        "host": request.url.netloc,
        "toolchains": toolchains,
        "footer": _footer(playground, toolchains),
        "seat_mark": playground.seats.mark(seat_of(request)),
        "seat_fresh": not request.state.seat_known,
        "style_nonce": nonce,
        "kept_days": playground.settings.seat_days,
        "storage_fails": playground.progress.failure is not None,
        **context,
    }
    return HTMLResponse(page(template, root=playground.root, **context), status_code=status)


def fragment(home: Playground, template: str, **context: object) -> HTMLResponse:
    """Return a part of a page for htmx."""
    return HTMLResponse(page(template, root=home.root, **context))


def problem_page(request: Request, problem: ProblemError) -> HTMLResponse:
    """Return a problem as a fragment for htmx, which shows it next to the command, else as a page."""
    if by_htmx(request):
        return HTMLResponse(page("_problem.html", problem=problem), problem.status, problem.headers)
    home = playground_of(request)
    # Any address can have a problem, even one without a course.
    course = home.shelf.course(request.path_params.get("course", "")) or home.shelf.default
    html = page(
        "problem.html",
        root=home.root,
        course=course,
        problem=problem,
        footer=_footer(home),
        storage_fails=home.progress.failure,
    )
    return HTMLResponse(html, problem.status, problem.headers)


def by_htmx(request: Request) -> bool:
    """Return True if htmx requests a fragment."""
    return request.headers.get("hx-request") == "true"


def to(home: Playground, lesson: Lesson, form: Typed | None = None) -> RedirectResponse:
    """Redirect to the lesson after a form post without scripts, keeping the command in the form."""
    line = f"?{urlencode({'command': form.command})}" if form and form.command not in ("", lesson.first_command) else ""
    return RedirectResponse(f"{home.root}{lesson.address}{line}", status_code=303)


def following(home: Playground, lesson: Lesson) -> Lesson | None:
    """Return the lesson after this one, or None for the last one."""
    lessons = home.course_of(lesson).lessons
    return next(iter(lessons[lessons.index(lesson) + 1 :]), None)


def _footer(playground: Playground, toolchains: tuple[ToolchainInfo, ...] | None = None) -> Mapping[str, str]:
    """Return the footer's context; without ``toolchains`` it does not mention them."""
    best = preferred(toolchains or (), None)
    rust = "" if toolchains is None else footer_toolchain(best.name if best else None)
    return {"rust": rust, "isolation": playground.isolation, "version": __version__}
