"""The course map, and forgetting a learner."""

from collections.abc import Mapping, Sequence

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from app.lessons import Lesson
from app.web.guard import COOKIE
from app.web.pages.common import Home, Seat, page_answer

router = APIRouter()


@router.get("/")
async def course(request: Request, home: Home, seat: Seat, forgotten: bool = False) -> Response:
    """The course map."""
    reached = await home.progress.reached(seat)
    last = await home.progress.last_lesson(seat)
    return await page_answer(
        request,
        "index.html",
        lessons=home.lessons,
        reached=reached,
        next=_continue(home.lessons, reached, last),
        begun=bool(reached or last),
        minutes=sum(lesson.minutes for lesson in home.lessons),
        note="Everything that was stored of you is deleted." if forgotten else "",
    )


@router.post("/forget")
async def forget(home: Home, seat: Seat) -> Response:
    """Delete all that is stored of this seat."""
    await home.forget(seat)
    answer = RedirectResponse(f"{home.root}/?forgotten=1", status_code=303)
    answer.delete_cookie(COOKIE, path=home.root or "/")
    return answer


def _continue(lessons: Sequence[Lesson], reached: Mapping[str, object], last: str | None) -> Lesson | None:
    """The step to go on with: the one last tried if it is open, else the next open one after it, if any is open."""
    start = next((number for number, lesson in enumerate(lessons) if lesson.slug == last), 0)
    ahead = [*lessons[start:], *lessons[:start]]
    return next((lesson for lesson in ahead if lesson.slug not in reached), None)
