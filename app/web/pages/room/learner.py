"""Let learners take part in a class: join, raise a hand, show a run, take a snippet, see what the instructor sees."""

from collections.abc import Mapping

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from app.room.names import cleaned
from app.web.pages.common import Home, Seat, Step, by_htmx, fragment, page_answer
from app.web.pages.form import text, typed
from app.web.pages.room.refusals import (
    class_closed,
    class_full,
    name_too_long,
    no_such_words,
    not_joined,
    wrong_code,
)
from app.web.pages.room.rights import Number, Open, count_attempt
from app.web.pages.versions import checked, replaced
from app.web.problem import no_such_run_of_lesson
from app.web.snippets import home_of, inserted
from app.web.state import Playground
from app.web.words import TOOK_SNIPPET

router = APIRouter()
lessons = APIRouter()
_LONGEST_NAME = 30
_SHOWN_SECONDS = 3600


@router.post("/class/join")
async def join(request: Request, home: Home, seat: Seat, state: Open) -> Response:
    """Put the seat on the class map, with a name or without; for a member, change the name."""
    form = await request.form()
    name = cleaned(text(form, "name"))
    if len(name) > _LONGEST_NAME:
        raise name_too_long(_LONGEST_NAME)
    room = home.classroom
    if await room.room.member(seat) is None:
        if state.closed:
            raise class_closed()
        count_attempt(request, "join")
        if state.code and text(form, "code").strip().upper() != state.code:
            raise wrong_code()
    if not await room.room.join(seat, name, room.now()):
        raise class_full()
    room.changed(seat)
    return _back(home, form)


@router.get("/class/strip")
async def strip(home: Home, seat: Seat, seen: str = "", at: str = "") -> Response:
    """Return the strip if it has changed since the version ``seen``; ``at`` is the key of the page's step."""
    room = home.classroom
    state = await room.state()
    if state is not None and seen:
        room.heard(seat)
        if seen == room.version(seat):
            return Response(status_code=204)
    found = await room.strip(seat)
    return fragment(home, "_class_strip.html", classroom=found, at=at)


@router.post("/class/hand")
async def hand(request: Request, home: Home, seat: Seat, _state: Open) -> Response:
    """Raise the learner's hand, or lower it."""
    form = await request.form()
    await _joined(home, seat)
    await home.classroom.room.hand(seat, home.classroom.now() if text(form, "raised") else None)
    return await _told(request, home, seat, form)


@router.post("/class/words/{number}")
async def close(request: Request, number: Number, home: Home, seat: Seat, _state: Open) -> Response:
    """Close what the instructor sent."""
    await _joined(home, seat)
    await home.classroom.room.close_words(seat, number)
    return await _told(request, home, seat, await request.form())


@router.post("/class/shown")
async def show(request: Request, home: Home, seat: Seat, _state: Open) -> Response:
    """Show the learner's latest run of a step to the instructor, or with an empty ``step`` nothing any more."""
    form = await request.form()
    await _joined(home, seat)
    room = home.classroom
    if text(form, "step"):
        lesson = home.lesson(text(form, "step"))
        run_id = await home.progress.last_run(seat, lesson.key)
        if run_id is None:
            raise no_such_run_of_lesson()
        await home.runs.owned(run_id, seat)
        await room.room.show(seat, run_id, lesson.key, room.now() + _SHOWN_SECONDS)
    elif shown := await room.room.shown_by(seat, room.now()):
        await room.room.hide(shown.id)
    return await _told(request, home, seat, form)


@router.get("/class/me")
async def me(request: Request, home: Home, seat: Seat, state: Open) -> Response:
    """Show the learner's own row as the instructor sees it, and what that is."""
    room = home.classroom
    row = await room.row(seat)
    return await page_answer(request, "class_me.html", state=state, row=row, steps=room.steps, titles=room.titles)


@router.post("/class/leave")
async def leave(home: Home, seat: Seat) -> Response:
    """Take the seat off the class map, with its name and its tries; its files and its progress stay."""
    if await home.classroom.room.leave(seat):
        home.classroom.forgotten(seat)
    return RedirectResponse(f"{home.root}/", status_code=303)


@lessons.post("/lessons/{slug}/snippet")
async def snippet(request: Request, home: Home, seat: Seat, lesson: Step) -> Response:
    """Put a snippet of the instructor's into the posted files, which are kept as a version."""
    form = await typed(request)
    sent = await home.classroom.room.words(seat)
    wanted = (each for each in sent if each.kind == "snippet" and each.lesson == lesson.key)
    found = next((each for each in wanted if str(each.id) == form.choice), None)
    if found is None:
        raise no_such_words()
    files = {**lesson.editable_files, **checked(home, lesson, form.files)}
    now: Mapping[str, str]
    if home_of(lesson, found.text):
        now = inserted(lesson, found.text, files)
    else:
        # A snippet that is no part of the solution goes to the end of the file that the page shows.
        path = form.shown if form.shown in lesson.editable else lesson.editable[0]
        now = {**files, path: f"{files[path].rstrip()}\n\n{found.text.rstrip()}\n".lstrip("\n")}
    return await replaced(request, home, seat, lesson, form, now, TOOK_SNIPPET)


async def _joined(home: Playground, seat: str) -> None:
    if await home.classroom.room.member(seat) is None:
        raise not_joined()


async def _told(request: Request, home: Playground, seat: str, form: Mapping[str, object]) -> Response:
    """Tell the class of a change; answer htmx with the strip, others with the page that they came from."""
    home.classroom.changed(seat)
    if not by_htmx(request):
        return _back(home, form)
    return fragment(home, "_class_strip.html", classroom=await home.classroom.strip(seat), at=text(form, "at"))


def _back(home: Playground, form: Mapping[str, object]) -> Response:
    """Redirect to the step that the form was on, or to the course map."""
    course = home.shelf.default
    lesson = next((each for each in course.lessons if each.key == text(form, "at")), None)
    return RedirectResponse(f"{home.root}{lesson.address if lesson else '/'}", status_code=303)
