"""One learner, for the instructor: their row, what can be sent to them, a link to their seat, a run that they show."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from app.engine import NoSuchRunError
from app.protocol.events import Event
from app.room.model import Member
from app.web.ansi import strip
from app.web.batches import terminal_text
from app.web.pages.common import Home, page_answer, playground_of
from app.web.pages.form import clean, text
from app.web.pages.room.links import INSTRUCTOR, make_link
from app.web.pages.room.qr import qr_svg
from app.web.pages.room.refusals import no_such_member, words_too_long
from app.web.pages.room.rights import Instructor, Number, Open
from app.web.problem import no_such_hint
from app.web.state import Playground

router = APIRouter()
_LONGEST = 2000
_MOST_SHOWN = 64 * 1024
"""Characters of a shown run's output."""


async def _member(number: Number, request: Request) -> Member:
    found = await playground_of(request).classroom.room.numbered(number)
    if found is None:
        raise no_such_member()
    return found


Learner = Annotated[Member, Depends(_member)]


@router.get("/class/members/{number}")
async def show(request: Request, home: Home, _who: Instructor, _state: Open, learner: Learner) -> Response:
    """Show one learner, and what can be sent to them."""
    return await _page(request, home, learner, address="")


@router.post("/class/members/{number}/seat")
async def seat_link(request: Request, home: Home, _who: Instructor, state: Open, learner: Learner) -> Response:
    """Show a link to the learner's seat."""
    return await _page(request, home, learner, address=await make_link(home, learner, state.address, INSTRUCTOR))


@router.post("/class/members/{number}/hand")
async def lower(home: Home, _who: Instructor, _state: Open, learner: Learner) -> Response:
    """Lower the learner's hand."""
    await home.classroom.room.hand(learner.seat, None)
    home.classroom.changed(learner.seat)
    return RedirectResponse(f"{home.root}/class#hands-title", status_code=303)


@router.post("/class/members/{number}/remove")
async def remove(home: Home, _who: Instructor, _state: Open, learner: Learner) -> Response:
    """Take the learner off the class map. Their files and their progress stay, and they may join again."""
    await home.classroom.room.leave(learner.seat)
    home.classroom.forgotten(learner.seat)
    return RedirectResponse(f"{home.root}/class", status_code=303)


@router.post("/class/members/{number}/send")
async def send(request: Request, home: Home, _who: Instructor, _state: Open, learner: Learner) -> Response:
    """Send the step's next hint, a sentence, or a snippet to the learner."""
    form = await request.form()
    kind = text(form, "kind")
    lesson = home.lesson(text(form, "step"))
    if kind == "hint":
        opened = await home.progress.guides.opened(learner.seat, lesson.key)
        if opened >= len(lesson.hints):
            raise no_such_hint(len(lesson.hints))
        content = lesson.hints[opened]
        await home.progress.guides.open(learner.seat, lesson.key, opened + 1)
    else:
        content = clean(text(form, "text")).strip("\n")
        kind = "snippet" if kind == "snippet" else "sentence"
    if not content.strip() or len(content) > _LONGEST:
        raise words_too_long(_LONGEST)
    await home.classroom.room.send(learner.seat, lesson.key, kind, content, home.classroom.now())
    home.classroom.changed(learner.seat)
    return RedirectResponse(f"{home.root}/class?sent={learner.number}", status_code=303)


@router.get("/class/runs/{number}")
async def shown_run(request: Request, number: Number, home: Home, _who: Instructor, _state: Open) -> Response:
    """Show the run that a learner shows: its files, its command and its output, to be read only."""
    shown = await home.classroom.room.shown(number, home.classroom.now())
    row = (await home.classroom.view()).of(shown.seat) if shown else None
    if shown is None or row is None:
        raise no_such_member()
    try:
        status = await home.engine.status(shown.run)
    except NoSuchRunError:
        # Runs expire, and a restart ends them, but the class outlives both.
        await home.classroom.room.hide(number)
        home.classroom.changed(shown.seat)
        raise no_such_member() from None
    lesson = home.lesson(status.job.lesson, status.job.course)
    log: list[Event] = []
    if status.state == "done":
        log = [event async for event in home.engine.events(shown.run)]
    output = "".join(strip(terminal_text(event)) for event in log)[:_MOST_SHOWN]
    files = {path: status.job.files.get(path, lesson.files[path]) for path in lesson.editable}
    return await page_answer(
        request, "class_run.html", shown=shown, label=row.label, lesson=lesson, files=files, output=output,
        argv=status.job.command.argv,
    )  # fmt: skip


@router.post("/class/runs/{number}/close")
async def close(number: Number, home: Home, _who: Instructor, _state: Open) -> Response:
    """Close a run that a learner shows."""
    shown = await home.classroom.room.shown(number, home.classroom.now())
    await home.classroom.room.hide(number)
    if shown:
        home.classroom.changed(shown.seat)
    return RedirectResponse(f"{home.root}/class", status_code=303)


async def _page(request: Request, home: Playground, learner: Member, address: str) -> Response:
    row = (await home.classroom.view()).of(learner.seat)
    if row is None:
        raise no_such_member()
    lessons = {lesson.key: lesson for lesson in home.shelf.default.lessons}
    lesson = lessons.get(learner.lesson, home.shelf.default.lessons[0])
    return await page_answer(
        request, "class_member.html", row=row, lesson=lesson, steps=home.classroom.steps, titles=home.classroom.titles,
        address=address, qr=qr_svg(address) if address else "",
    )  # fmt: skip
