"""Store a learner's prediction, and open hints."""

from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.web.pages.common import Home, Seat, Step, by_htmx, fragment
from app.web.pages.form import typed
from app.web.pages.guide import guide_of, prediction_status
from app.web.pages.lesson import again
from app.web.problem import no_such_hint, no_such_option

router = APIRouter()


@router.post("/lessons/{slug}/predict")
async def predict(request: Request, home: Home, seat: Seat, lesson: Step) -> Response:
    """Store the learner's prediction of the first run."""
    form = await typed(request)
    options = lesson.prediction.option if lesson.prediction else ()
    if all(option.id != form.choice for option in options):
        raise no_such_option()
    await home.progress.guides.predict(seat, lesson.key, form.choice or "")
    if not by_htmx(request):
        return await again(request, lesson, form)
    return fragment(
        home, "_prediction.html", lesson=lesson, prediction_status=await prediction_status(home, seat, lesson)
    )


@router.post("/lessons/{slug}/hints")
async def hints(request: Request, home: Home, seat: Seat, lesson: Step) -> Response:
    """Open the hints up to a number; the number after the last hint opens the solution."""
    form = await typed(request)
    wanted = form.choice or ""
    if not (wanted.isascii() and wanted.isdigit() and len(wanted) < 4 and 0 < int(wanted) <= len(lesson.hints) + 1):
        raise no_such_hint(len(lesson.hints))
    await home.progress.guides.open(seat, lesson.key, int(wanted))
    if not by_htmx(request):
        return await again(request, lesson, form)
    guide = await guide_of(home, seat, lesson, form.files)
    return fragment(home, "_help.html", lesson=lesson, guide=replace(guide, newest=int(wanted)))
