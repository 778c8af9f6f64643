"""Show a run on the page: whole after its end, and before that as a stream of HTML."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from markupsafe import Markup, escape

from app.course.lesson import Lesson
from app.engine import EngineUnavailableError, NoSuchRunError, RunStatus
from app.protocol.events import Artifact, Event, Verdict
from app.web.ahead import ahead
from app.web.batches import batches, terminal_length
from app.web.pages.common import following
from app.web.pages.finish import is_finish
from app.web.pages.guide import prediction_patch, prediction_status
from app.web.pages.startup import meter_patch
from app.web.pages.where import where
from app.web.problem import no_such_run
from app.web.render import Patch, RunRenderer, fold, made, merged, page, partials, rendered
from app.web.sse import frame
from app.web.state import Playground

_CLOSE = "run-done"  # the panel's hx-sse:close waits for it
_LOOK_SECONDS = 1.0
_PROBLEM = Markup('<hx-partial hx-target="#problem" hx-swap="innerHTML">{}</hx-partial>')
QUICK = 8 * 1024
"""Characters whose rendering takes less time than starting a thread."""


@dataclass(frozen=True)
class Panel:
    """A run on the page. ``live``: the run has not ended, and the panel follows it.

    ``same_files``: the page shows the same texts as the run had, so its lines and columns are valid there.
    """

    id: str
    live: bool
    same_files: bool = False
    slots: Mapping[str, Markup] = field(default_factory=dict)


async def last_run(home: Playground, seat: str, lesson: Lesson) -> tuple[Panel | None, str | None, str | None]:
    """Return the panel of the seat's latest run, the run with the artifact, and its toolchain.

    Three times None if there is none, it was dropped, or the engine cannot be reached.
    """
    run_id = await home.progress.last_run(seat, lesson.key)
    if run_id is None:
        return None, None, None
    try:
        status = await home.engine.status(run_id)
        if status.state != "done":
            return Panel(run_id, live=True), status.job.after, status.job.toolchain
        panel, built = await finished(home, lesson, run_id)
    except (NoSuchRunError, EngineUnavailableError):
        return None, None, None
    return panel, built or status.job.after, status.job.toolchain


async def finished(home: Playground, lesson: Lesson, run_id: str) -> tuple[Panel, str | None]:
    """Wait for a run's end; return its panel, and its id if it built something. Raises ``NoSuchRunError``."""
    log: list[Event] = [event async for event in home.engine.events(run_id)]
    built = run_id if any(isinstance(event, Artifact) for event in log) else None
    async with home.drawing_lock(run_id):
        slots = home.panels.get(run_id)
        if slots is None:
            status = await home.engine.status(run_id)
            renderer = await _renderer(home, lesson, status)
            drawn = await home.draw(partial(fold, renderer, log))
            await home.engine.status(run_id)  # raises if the run was deleted meanwhile: its panel must not stay
            slots = home.panels.keep(run_id, status.job.owner, drawn)
    return Panel(run_id, live=False, slots=slots), built


async def frames(home: Playground, seat: str, lesson: Lesson, run_id: str, seen: int) -> AsyncIterator[bytes]:
    """Yield the run's patches as messages for htmx from the event after ``seen`` on, then ``run-done``."""
    try:
        async for one in _frames(home, seat, lesson, run_id, seen):
            yield one
    except NoSuchRunError:
        yield frame(partials([Patch("status", escape(no_such_run().message), append=False)]))
        yield frame("", event=_CLOSE)


async def with_interruptions(
    frames: AsyncIterator[bytes], interruption: Callable[[], str | None]
) -> AsyncGenerator[bytes]:
    """Yield the frames. While none comes because the engine cannot be reached, say so on the page."""
    shown = ""
    async with ahead(frames) as coming:
        while True:
            has_come = await coming.wait(_LOOK_SECONDS)
            sentence = interruption() or ""
            if sentence != shown:
                shown = sentence
                yield frame(_PROBLEM.format(Markup("<p>{}</p>").format(shown) if shown else ""))
            if has_come:
                one = coming.take()
                if one is None:
                    return
                yield one


async def _frames(home: Playground, seat: str, lesson: Lesson, run_id: str, seen: int) -> AsyncIterator[bytes]:
    renderer = await _renderer(home, lesson, await home.engine.status(run_id))
    before = await prediction_status(home, seat, lesson)
    # Render from the first event on, even after a lost connection: an earlier event may have left a colour open.
    async for batch in batches(home.engine.events(run_id)):
        last = batch[-1]
        ending: list[Patch] = []
        if isinstance(last, Verdict):
            ending = [
                await _progress(home, seat, lesson, last),
                await prediction_patch(home, seat, lesson, before),
                await meter_patch(home, seat, lesson),
            ]
        message = await _message(home, run_id, renderer, batch, seen, ending)
        if last.id > seen:
            yield message
        if isinstance(last, Verdict):
            # Close only after a verdict: when a server stops, its streams end too, and the page must reconnect.
            yield frame("", event=_CLOSE)


async def _message(
    home: Playground, run_id: str, renderer: RunRenderer, batch: list[Event], seen: int, ending: list[Patch]
) -> bytes:
    """Return a batch's events after ``seen`` as one message, of which a slow reader keeps only the bytes in memory."""

    def draw() -> list[Patch]:
        rendered(renderer, [event for event in batch if event.id <= seen])
        return rendered(renderer, [event for event in batch if event.id > seen])

    if sum(map(terminal_length, batch)) < QUICK:
        patches = draw()
    else:
        async with home.drawing_lock(run_id):
            patches = await home.draw(draw)
    return frame(partials(merged([*patches, *ending])), batch[-1].id)


async def with_same_files(home: Playground, panel: Panel | None, files: Mapping[str, str]) -> Panel | None:
    """Return the panel with ``same_files`` set for these texts."""
    if panel is None:
        return None
    try:
        job = (await home.engine.status(panel.id)).job
    except (NoSuchRunError, EngineUnavailableError):
        return panel
    return replace(panel, same_files=dict(job.files) == dict(files))


async def _renderer(home: Playground, lesson: Lesson, run: RunStatus) -> RunRenderer:
    owner, diagnosis = run.job.owner, home.course_of(lesson).diagnosis
    earlier = owner is not None and lesson.key in await home.progress.reached(owner)
    ends = {"earlier": earlier, "finish": is_finish(home, lesson)}
    return RunRenderer(run.id, lesson, following(home, lesson), diagnosis, home.root, run.seconds, **ends)


async def _progress(home: Playground, seat: str, lesson: Lesson, verdict: Verdict) -> Patch:
    """Return a patch with the course's progress after a verdict, even if that is not stored yet."""
    reached = set(await home.progress.reached(seat)) | ({lesson.key} if verdict.reached else set())
    html = page("_progress.html", root=home.root, where=where(home.course_of(lesson), reached, lesson))
    return Patch("progress", made(html), append=False)
