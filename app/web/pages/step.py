"""Show one state of a run's program in the stepper: a fragment for htmx, else a page."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from app.web.pages.common import Home, Seat, by_htmx, page_answer
from app.web.render import page
from app.web.steps import step_view

router = APIRouter()


@router.get("/runs/{run_id}/step")
async def step(
    request: Request, run_id: str, home: Home, seat: Seat, at: Annotated[int, Query(ge=0, le=100_000)] = 0
) -> Response:
    """Show the state before the instruction of that number."""
    trace = await home.runs.steps(run_id, seat)
    job = (await home.runs.owned(run_id, seat)).job
    shown: dict[str, Any] = {"trace": trace, "at": step_view(trace, at, job.files), "run_id": run_id}
    if by_htmx(request):
        return HTMLResponse(page("_step.html", root=home.root, **shown))
    return await page_answer(request, "step.html", lesson=home.lesson(job.lesson, job.course), **shown)
