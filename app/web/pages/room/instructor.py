"""The instructor's page: figures, whom to look at first, raised hands, the class map, and the class's pace."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import cast, get_args

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from app.engine import EngineUnavailableError, NoSuchRunError
from app.room.view import Outline, Sort
from app.web.classroom import signed
from app.web.pages.common import Home, page_answer
from app.web.pages.form import text
from app.web.pages.room.live import ClassPage, ClassPages, Counted, Pieces, class_states, frames_of
from app.web.pages.room.qr import qr_svg
from app.web.pages.room.refusals import words_too_long, wrong_key
from app.web.pages.room.rights import (
    Instructor,
    Open,
    cookie_name,
    count_attempt,
    instructor_of,
    instructor_with,
    set_cookie,
)
from app.web.problem import no_such_lesson
from app.web.sse import EventStream
from app.web.state import Playground

router = APIRouter()
_LONGEST_BANNER = 200
_MOST_MINUTES = 240
_served = ClassPages()


@router.get("/class")
async def show(
    request: Request, home: Home, state: Open, sort: str = "stuck", step: str = "", sent: str = ""
) -> Response:
    """Show the class to its instructor; ask others for the key."""
    if await instructor_of(request) is None:
        return await page_answer(request, "class_key.html", 403, wrong=False)
    page = _page(home, sort, step)
    pieces = await _drawn(home, page)
    token = _served.keep(pieces)
    return await page_answer(
        request, "class.html", state=state, page=page, pieces=pieces, token=token, steps=home.classroom.steps,
        lessons=home.shelf.default.lessons, minutes=home.classroom.minutes(state), sent=sent,
    )  # fmt: skip


@router.post("/class/enter")
async def enter(request: Request, home: Home, _state: Open) -> Response:
    """Exchange an instructor's key for a cookie.

    Only wrong keys are counted: a guesser behind the instructor's address must not keep the instructor out.
    """
    found = await instructor_with(home, text(await request.form(), "key").strip())
    if found is None:
        count_attempt(request, "key")
        raise wrong_key()
    key, _ = (await home.classroom.room.instructors())[found]
    answer = RedirectResponse(f"{home.root}/class", status_code=303)
    set_cookie(request, answer, signed(found, key))
    return answer


@router.post("/class/exit")
async def leave(request: Request, home: Home) -> Response:
    """Delete the instructor's cookie in this browser."""
    answer = RedirectResponse(f"{home.root}/", status_code=303)
    secure = request.url.scheme == "https"
    answer.delete_cookie(cookie_name(request), home.root or "/", secure=secure, httponly=True, samesite="strict")
    return answer


@router.get("/class/events")
async def events(
    request: Request,
    home: Home,
    _who: Instructor,
    _state: Open,
    _stream: Counted,
    sort: str = "stuck",
    step: str = "",
    token: str = "",
) -> EventStream:
    """Stream what changes on the instructor's page, at most every second."""
    return EventStream(_followed(request, home, _page(home, sort, step), token))


async def _followed(request: Request, home: Playground, page: ClassPage, token: str) -> AsyncIterator[bytes]:
    sent = _served.take(token)
    async for _ in class_states(request):
        now = await _drawn(home, page)
        for each in frames_of(sent, now):
            yield each
        sent = now


@router.post("/class/pace")
async def pace(request: Request, home: Home, _who: Instructor, _state: Open) -> Response:
    """Set the class's step, the exercise's timer, the banner or the door: those fields that the form has."""
    form = await request.form()
    values: dict[str, str] = {}
    if "step" in form:
        step = text(form, "step")
        if step and all(each.key != step for each in home.classroom.steps):
            raise no_such_lesson()
        values["step"] = step
    if "minutes" in form:
        minutes = text(form, "minutes").strip()
        number = int(minutes) if minutes.isascii() and minutes.isdigit() and len(minutes) < 4 else 0
        values["timer"] = str(home.classroom.now() + 60 * min(number, _MOST_MINUTES)) if number else ""
    if "banner" in form:
        values["banner"] = " ".join(text(form, "banner").split())
        if len(values["banner"]) > _LONGEST_BANNER:
            raise words_too_long(_LONGEST_BANNER)
    if "closed" in form:
        values["closed"] = "1" if text(form, "closed") else ""
    await home.classroom.room.set(**values)
    home.classroom.changed()
    part = "door-title" if "closed" in form else "pace-title"
    return RedirectResponse(f"{home.root}/class#{part}", status_code=303)


@router.post("/class/sweep")
async def sweep(home: Home, _who: Instructor, _state: Open) -> Response:
    """Take everyone off the class map who has run nothing since they joined."""
    for seat in await home.classroom.room.sweep():
        home.classroom.forgotten(seat)
    return RedirectResponse(f"{home.root}/class#door-title", status_code=303)


@router.get("/class/qr.svg")
async def qr(state: Open) -> Response:
    """Return the learners' address as a QR code."""
    return Response(qr_svg(state.address, whole=True), media_type="image/svg+xml")


async def _drawn(home: Playground, page: ClassPage) -> Pieces:
    """Draw the class as it is now."""
    queued = None
    with suppress(NoSuchRunError, EngineUnavailableError):
        if home.classroom.latest:
            queued = (await home.engine.status(home.classroom.latest)).timing.get("queue", 0.0) / 1000
    return Pieces.of(home, page, await home.classroom.view(), queued)


def _page(home: Playground, sort: str, step: str) -> ClassPage:
    known: tuple[Outline, ...] = tuple(each for each in home.classroom.steps if each.key == step)
    return ClassPage(cast("Sort", sort) if sort in get_args(Sort) else "stuck", known[0] if known else None)
