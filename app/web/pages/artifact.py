"""Show the card of a run's artifact: a fragment for htmx, else a page."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from app.web.card import view
from app.web.pages.common import Home, Seat, by_htmx, page_answer
from app.web.render import page

router = APIRouter()


@router.get("/runs/{run_id}/artifact")
async def artifact(request: Request, run_id: str, home: Home, seat: Seat) -> Response:
    """Return the card of the run's binary."""
    details = await home.runs.artifact_details(run_id, seat)
    shown: dict[str, Any] = {"inside": details, "card": details.card, "view": view(details, home.lesson)}
    if by_htmx(request):
        return HTMLResponse(page("_inside.html", root=home.root, **shown))
    return await page_answer(
        request,
        "inside.html",
        lesson=home.lesson(details.job.lesson, details.job.course),
        event=details.artifact,
        **shown,
    )
