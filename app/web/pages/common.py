"""What every page needs: the playground, the seat, the lesson of the address, and the frame around the content."""

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


def playground_of(request: Request) -> Playground:
    """The one playground of this process."""
    playground: Playground = request.app.state.playground
    return playground


def seat_of(request: Request) -> str:
    """The seat that the guard found, or gave out with this answer."""
    seat: str = request.state.seat
    return seat


# What FastAPI awaits itself: a plain function would go through a thread for each request.
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
"""For a page that is made quickly, and often: who asks for many has them made one after the other."""

Home = Annotated[Playground, Depends(_home)]
Seat = Annotated[str, Depends(_seat)]
Taught = Annotated[Course, Depends(_course)]
Step = Annotated[Lesson, Depends(_lesson)]


async def page_answer(request: Request, template: str, status: int = 200, **context: object) -> HTMLResponse:
    """A whole page, of the default course unless it is about a lesson or ``course``; its footer says what made it."""
    playground = playground_of(request)
    lesson = context.get("lesson")
    course = playground.course_of(lesson) if isinstance(lesson, Lesson) else playground.shelf.default
    toolchains = await playground.inventory.toolchains()
    nonce: str = request.state.style_nonce
    context = {
        "course": course,
        "toolchains": toolchains,
        "footer": _footer(playground, toolchains),
        "style_nonce": nonce,
        **context,
    }
    return HTMLResponse(page(template, root=playground.root, **context), status_code=status)


def fragment(home: Playground, template: str, **context: object) -> HTMLResponse:
    """A part of a page, for htmx."""
    return HTMLResponse(page(template, root=home.root, **context))


def problem_page(request: Request, problem: ProblemError) -> HTMLResponse:
    """What went wrong: a fragment for htmx, which puts it beside the command, else a page."""
    if by_htmx(request):
        return HTMLResponse(page("_problem.html", problem=problem), problem.status, problem.headers)
    home = playground_of(request)
    html = page("problem.html", root=home.root, course=_addressed(request, home), problem=problem, footer=_footer(home))
    return HTMLResponse(html, problem.status, problem.headers)


def _addressed(request: Request, home: Playground) -> Course:
    """The course of the address where there is one; a problem's page is made for any address."""
    return home.shelf.course(request.path_params.get("course", "")) or home.shelf.default


def by_htmx(request: Request) -> bool:
    """Whether a fragment is asked for."""
    return request.headers.get("hx-request") == "true"


def to(home: Playground, lesson: Lesson, form: Typed | None = None) -> RedirectResponse:
    """The way back to the lesson after a form without scripts, with the command that stood in it."""
    line = f"?{urlencode({'command': form.command})}" if form and form.command not in ("", lesson.commands[0]) else ""
    return RedirectResponse(f"{home.root}{lesson.address}{line}", status_code=303)


def following(home: Playground, lesson: Lesson) -> Lesson | None:
    """The lesson after this one."""
    lessons = home.course_of(lesson).lessons
    return next(iter(lessons[lessons.index(lesson) + 1 :]), None)


def _footer(playground: Playground, toolchains: tuple[ToolchainInfo, ...] | None = None) -> Mapping[str, str]:
    """What stands below a page; without ``toolchains`` it says nothing of them."""
    best = preferred(toolchains or (), None)
    rust = "" if toolchains is None else f"Rust {best.name}" if best else "no Rust toolchain"
    return {"rust": rust, "isolation": playground.isolation, "version": __version__}
