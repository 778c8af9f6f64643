"""One step of the whole class, for the instructor: what was predicted, which errors came, which hints were opened."""

from fastapi import APIRouter, Request
from fastapi.responses import Response
from markupsafe import Markup

from app.course import Lesson
from app.room.model import ClassState
from app.room.view import Outline, step_sums
from app.web.pages.common import Home, page_answer
from app.web.pages.room.live import Counted, stream_element
from app.web.pages.room.rights import Instructor, Open
from app.web.problem import no_such_lesson
from app.web.render import made, page
from app.web.sse import EventStream
from app.web.state import Playground

router = APIRouter()


@router.get("/class/step/{slug}")
async def show(request: Request, home: Home, _who: Instructor, _state: Open, slug: str) -> Response:
    """Show what the class did in one step."""
    lesson, outline = _step(home, slug)
    return await page_answer(request, "class_step.html", lesson=lesson, drawn=await _drawn(home, lesson, outline))


@router.get("/class/step/{slug}/events")
async def events(
    request: Request, home: Home, _who: Instructor, _state: Open, _stream: Counted, slug: str
) -> EventStream:
    """Stream the page of the step whenever it changes."""
    lesson, outline = _step(home, slug)

    async def draw(_: ClassState) -> Markup:
        return await _drawn(home, lesson, outline)

    return EventStream(stream_element(request, "class-step", draw))


def _step(home: Playground, slug: str) -> tuple[Lesson, Outline]:
    """Return a step of the class; raises ``ProblemError`` 404, also for a step of another course."""
    lesson = home.lesson(slug)
    outline = next((each for each in home.classroom.steps if each.key == lesson.key), None)
    if outline is None:
        raise no_such_lesson()
    return lesson, outline


async def _drawn(home: Playground, lesson: Lesson, outline: Outline) -> Markup:
    chosen, happened = await home.classroom.room.poll(lesson.key)
    sums = step_sums(await home.classroom.records(), outline)
    context = {"lesson": lesson, "sums": sums, "chosen": chosen, "happened": happened}
    return made(page("_class_step.html", root=home.root, titles=home.classroom.titles, **context))
