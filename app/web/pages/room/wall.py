"""The projector: nothing on it is about one person, and small counts read "a few"."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from markupsafe import Markup

from app.course import Lesson
from app.course.diagnosis import ErrorClass
from app.course.specs import Option
from app.protocol.events import Diagnostic
from app.room.model import ClassState
from app.room.view import FEW, few, step_sums
from app.room.wall import Slide, slides, turned
from app.web.ansi import strip
from app.web.pages.common import Home, by_htmx, page_answer
from app.web.pages.form import text
from app.web.pages.room.live import Counted, stream_element
from app.web.pages.room.qr import qr_svg
from app.web.pages.room.rights import Instructor, Open
from app.web.problem import no_such_page
from app.web.render import made, page
from app.web.sse import EventStream
from app.web.state import Playground

router = APIRouter()
_MOST_ERRORS = 3


@dataclass(frozen=True)
class Bar:
    """One option of a poll: how many chose it, in words and in percent of the most chosen one; 0 percent for a few.

    A share of all would tell how many chose the others, also where they are few.
    """

    text: str
    words: str
    percent: int


@router.get("/class/wall")
async def wall(request: Request, home: Home, _who: Instructor, state: Open) -> Response:
    """Show the projector's page."""
    shown = await _slide(home, state)
    return await page_answer(request, "class_wall.html", slide=shown, state=state)


@router.post("/class/wall")
async def turn(request: Request, home: Home, _who: Instructor, state: Open) -> Response:
    """Turn to the slide before or after this one, or show the one that the form names."""
    form = await request.form()
    order, current = await _order(home, state), Slide.of(state.wall)
    wanted = text(form, "show")
    if wanted:
        chosen = Slide.of(wanted)
        if chosen.step and all(each.key != chosen.step for each in home.classroom.steps):
            raise no_such_page()
    else:
        chosen = turned(order, current, -1 if text(form, "by") == "-1" else 1)
    await home.classroom.room.set(wall=str(chosen))
    home.classroom.changed()
    if by_htmx(request):
        return Response(status_code=204)
    lesson = _lesson(home, chosen.step) if wanted else None  # the form that names a slide is on the page of its step
    return RedirectResponse(f"{home.root}/class/{f'step/{lesson.slug}' if lesson else 'wall'}", status_code=303)


@router.get("/class/wall/events")
async def events(request: Request, home: Home, _who: Instructor, _state: Open, _stream: Counted) -> EventStream:
    """Stream the projector's slide whenever it changes."""
    return EventStream(stream_element(request, "wall", partial(_slide, home)))


async def _order(home: Playground, state: ClassState) -> list[Slide]:
    """Return the slides about the step that is shown, else the class's step, else the one where most learners are."""
    current, records = Slide.of(state.wall), await home.classroom.records()
    most = Counter(member.lesson for member in records.members if member.lesson).most_common(1)
    key = current.step or state.step or (most[0][0] if most else "")
    lesson = _lesson(home, key)
    if lesson is None:
        return slides("", (), polled=False)
    outline = next(each for each in home.classroom.steps if each.key == key)
    errors = [error for error, _ in step_sums(records, outline).errors][:_MOST_ERRORS]
    if current.kind == "error" and current.error not in errors:
        errors.append(current.error)
    return slides(key, errors, polled=lesson.prediction is not None)


async def _slide(home: Playground, state: ClassState) -> Markup:
    """Draw the slide that the projector shows."""
    current = Slide.of(state.wall)
    lesson = _lesson(home, current.step)
    context: dict[str, object] = {"slide": current, "lesson": lesson, "state": state}
    context["minutes"] = home.classroom.minutes(state)
    if current.kind == "address" or lesson is None:
        return made(page("_class_slide.html", root=home.root, kind="address", qr=qr_svg(state.address), **context))
    if current.kind == "error":
        known = next((each for each in home.shelf.default.diagnosis.classes if each.id == current.error), None)
        context |= {"known": known, "recorded": recorded(lesson, known)}
    outline = next(each for each in home.classroom.steps if each.key == lesson.key)
    sums = step_sums(await home.classroom.records(), outline)
    chosen, _ = await home.classroom.room.poll(lesson.key)
    context |= {
        "any_reached": sums.reached > 0,
        "reached": few(sums.reached),
        "learners": few(sums.learners),
        "bars": bars(lesson.prediction.option if lesson.prediction else (), chosen),
    }
    return made(page("_class_slide.html", root=home.root, kind=current.kind, **context))


def bars(options: Sequence[Option], chosen: Mapping[str, int]) -> list[Bar]:
    """Return the bars of a poll, in the order of its options; ``chosen`` are the numbers by the option's id."""
    most = max(chosen.values(), default=0)
    numbers = [chosen.get(option.id, 0) for option in options]
    return [
        Bar(option.text, few(number), round(100 * number / most) if number >= FEW else 0)
        for option, number in zip(options, numbers, strict=True)
    ]


def recorded(lesson: Lesson, known: ErrorClass | None) -> str:
    """Return the compiler's words for an error from the lesson's recordings, or nothing if none has it."""
    for recording in lesson.recordings if known else ():
        for event in recording.events:
            if isinstance(event, Diagnostic) and known and event.error_class == known.id:
                return strip(event.rendered).strip()
    return ""


def _lesson(home: Playground, key: str) -> Lesson | None:
    return next((each for each in home.shelf.default.lessons if each.key == key), None)
