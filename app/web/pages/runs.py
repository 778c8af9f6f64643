"""Post, follow and cancel runs as HTML."""

from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Annotated

import anyio.lowlevel
from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import Response, StreamingResponse

from app.course.lesson import Lesson
from app.engine import NoSuchRunError
from app.web.ansi import Terminal
from app.web.batches import terminal_text
from app.web.pages.common import Home, Seat, Step, by_htmx, fragment, playground_of, seat_of, to
from app.web.pages.compare import ALL, compare, start
from app.web.pages.form import Typed, looked_at, typed
from app.web.pages.guide import guide_of, prediction_status
from app.web.pages.lesson import lesson_page
from app.web.pages.panel import QUICK, Panel, finished, frames, with_interruptions
from app.web.problem import ProblemError
from app.web.sse import EventStream
from app.web.state import Playground, event_id

router = APIRouter()
runs = APIRouter()


async def _run_lesson(run_id: str, request: Request) -> Lesson:
    """Return the lesson of a run that this seat may see."""
    home = playground_of(request)
    job = (await home.runs.owned(run_id, seat_of(request))).job
    return home.lesson(job.lesson, job.course)


async def _followed(run_id: str, request: Request) -> AsyncIterator[None]:
    """Count one more stream until the answer has ended."""
    playground, seat = playground_of(request), seat_of(request)
    run = await playground.runs.owned(run_id, seat)
    with playground.streams.open(run.id, request.state.caller):
        yield


RunStep = Annotated[Lesson, Depends(_run_lesson)]


@router.post("/lessons/{slug}/runs")
async def run(request: Request, home: Home, seat: Seat, lesson: Step) -> Response:
    """Run the posted files; answer htmx with a panel that follows the run, others with the finished page."""
    form = await typed(request)
    if form.toolchain == ALL:
        return await _run_on_all(request, home, seat, lesson, form)
    before = await prediction_status(home, seat, lesson)
    try:
        parts = (lesson, form.files, form.command, form.toolchain, looked_at(form), seat)
        owner = request.state.queue_owner
        run_id = await home.runs.submit(*parts, attended=True, base=form.base, queue_owner=owner, again=form.again)
    except ProblemError as problem:
        if by_htmx(request):
            raise
        return await lesson_page(request, lesson, form, None, problem)
    if by_htmx(request):
        guide = await guide_of(home, seat, lesson, form.files)
        context = {"offered": form.offered, "command": form.command, "lesson": lesson, "guide": guide}
        return fragment(home, "_posted.html", run=Panel(run_id, live=True), **context)
    if (await home.engine.status(run_id)).preparing:
        # Preparing a target may take a minute. The page without scripts shows the progress and reloads by itself.
        return to(home, lesson)
    panel, built = await finished(home, lesson, run_id)
    return await lesson_page(request, lesson, form, panel, after=built, before=before)


async def _run_on_all(request: Request, home: Playground, seat: str, lesson: Lesson, form: Typed) -> Response:
    """Run the posted files on every compiler, side by side."""
    try:
        ids = await start(request, home, seat, lesson, form)
        comparison = await compare(home, lesson, ids, wait=not by_htmx(request))
    except ProblemError as problem:
        if by_htmx(request):
            raise
        return await lesson_page(request, lesson, form, None, problem)
    if by_htmx(request):
        guide = await guide_of(home, seat, lesson, form.files)
        context = {"offered": form.offered, "command": form.command, "lesson": lesson, "guide": guide}
        return fragment(home, "_posted.html", comparison=comparison, **context)
    return await lesson_page(request, lesson, form, None, comparison=comparison)


@runs.get("/runs/{run_id}/events", dependencies=[Depends(_followed)])
async def events(
    run_id: str, home: Home, seat: Seat, lesson: RunStep, last_event_id: Annotated[str, Header()] = ""
) -> EventStream:
    """Stream the run as HTML for the panel, then ``run-done``."""
    following = frames(home, seat, lesson, run_id, event_id(last_event_id))
    if home.engine.interruption() is not None:
        following = with_interruptions(following, home.engine.interruption)
    return EventStream(following)


@runs.get("/runs/{run_id}/output", dependencies=[Depends(_followed)])
async def output(run_id: str, home: Home, _lesson: RunStep) -> Response:
    """Stream the run's whole output as plain text until the run ends."""
    return StreamingResponse(_printed(home, run_id), media_type="text/plain")


async def _printed(home: Playground, run_id: str) -> AsyncIterator[bytes]:
    terminal = Terminal()
    with suppress(NoSuchRunError):
        async for event in home.engine.events(run_id):
            yield await _plain(home, run_id, terminal, terminal_text(event))
            await anyio.lowlevel.checkpoint()


async def _plain(home: Playground, run_id: str, terminal: Terminal, text: str) -> bytes:
    """Return text without its colours; long text is converted in a thread. A slow reader keeps only these bytes."""
    if len(text) < QUICK:
        return terminal.plain(text).encode("utf-8", "replace")
    async with home.drawing_lock(run_id):
        return (await home.draw(partial(terminal.plain, text))).encode("utf-8", "replace")


@runs.post("/runs/{run_id}/cancel")
async def cancel(request: Request, run_id: str, home: Home, lesson: RunStep) -> Response:
    """Cancel a run; its panel gets the run's own last events."""
    await home.engine.cancel(run_id)
    return Response(status_code=204) if by_htmx(request) else to(home, lesson)
