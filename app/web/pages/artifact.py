"""The card of what a run built: a fragment for htmx, else a page."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from app.web.card import view
from app.web.pages.common import Home, Seat, by_htmx, page_answer
from app.web.render import page

router = APIRouter()


@router.get("/runs/{run_id}/artifact")
async def artifact(request: Request, run_id: str, home: Home, seat: Seat) -> Response:
    """What is in the binary."""
    artifact_details = await home.runs.artifact_details(run_id, seat)
    shown: dict[str, Any] = {
        "inside": artifact_details,
        "card": artifact_details.card,
        "view": view(artifact_details, home.lesson),
    }
    if by_htmx(request):
        return HTMLResponse(page("_inside.html", root=home.root, **shown))
    return await page_answer(
        request,
        "inside.html",
        lesson=home.lesson(artifact_details.job.lesson, artifact_details.job.course),
        event=artifact_details.artifact,
        **shown,
    )
