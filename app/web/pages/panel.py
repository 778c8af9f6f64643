"""A run on the page: whole when it has ended, and as a stream of HTML while it goes on."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from markupsafe import Markup, escape

from app.course.lessons import Lesson
from app.engine import NoSuchRunError, RunStatus
from app.protocol.events import Artifact, Event, Verdict
from app.web.batches import batches, size
from app.web.pages.common import following
from app.web.pages.guide import prediction_patch, prediction_status
from app.web.pages.where import where
from app.web.problem import no_such_run
from app.web.render import Patch, RunRenderer, fold, made, merged, page, partials, rendered
from app.web.sse import frame
from app.web.state import Playground

_CLOSE = "run-done"  # the panel's hx-sse:close waits for it
QUICK = 8 * 1024
"""Characters that are drawn sooner than a thread has begun."""


@dataclass(frozen=True)
class Panel:
    """A run on the page. ``live``: it still goes on, and the panel follows it.

    ``same_files``: it was about the very texts that the page shows, so its lines and columns hold.
    """

    id: str
    live: bool
    same_files: bool = False
    slots: Mapping[str, Markup] = field(default_factory=dict)


async def last_run(home: Playground, seat: str, lesson: Lesson) -> tuple[Panel | None, str | None, str | None]:
    """The seat's latest run here while the engine keeps it, the run whose artefact can be looked at, its toolchain."""
    run_id = await home.progress.last_run(seat, lesson.key)
    if run_id is None:
        return None, None, None
    try:
        status = await home.engine.status(run_id)
        if status.state != "done":
            return Panel(run_id, live=True), status.job.after, status.job.toolchain
        panel, built = await finished(home, lesson, run_id)
    except NoSuchRunError:
        return None, None, None
    return panel, built or status.job.after, status.job.toolchain


async def finished(home: Playground, lesson: Lesson, run_id: str) -> tuple[Panel, str | None]:
    """A run's panel when it has ended, which this waits for; and its id once more if it built something."""
    log: list[Event] = [event async for event in home.engine.events(run_id)]
    built = run_id if any(isinstance(event, Artifact) for event in log) else None
    async with home.drawing_lock(run_id):
        slots = home.panels.get(run_id)
        if slots is None:
            status = await home.engine.status(run_id)
            renderer = await _renderer(home, lesson, status)
            slots = home.panels.keep(run_id, status.job.owner, await home.draw(partial(fold, renderer, log)))
    return Panel(run_id, live=False, slots=slots), built


async def frames(home: Playground, seat: str, lesson: Lesson, run_id: str, seen: int) -> AsyncIterator[bytes]:
    """The run's patches as messages for htmx from the event after ``seen`` on, then ``run-done``."""
    try:
        async for one in _frames(home, seat, lesson, run_id, seen):
            yield one
    except NoSuchRunError:
        yield frame(partials([Patch("status", escape(no_such_run().message), append=False)]))
        yield frame("", event=_CLOSE)


async def _frames(home: Playground, seat: str, lesson: Lesson, run_id: str, seen: int) -> AsyncIterator[bytes]:
    renderer = await _renderer(home, lesson, await home.engine.status(run_id))
    before = await prediction_status(home, seat, lesson)
    # From the first event on, also after a lost connection: a colour may have been left open before.
    async for batch in batches(home.engine.events(run_id)):
        last = batch[-1]
        ending: list[Patch] = []
        if isinstance(last, Verdict):
            ending = [await _progress(home, seat, lesson, last), await prediction_patch(home, seat, lesson, before)]
        message = await _message(home, run_id, renderer, batch, seen, ending)
        if last.id > seen:
            yield message
        if isinstance(last, Verdict):
            # Not at every end: a server that stops ends its streams too, and those are to be asked for again.
            yield frame("", event=_CLOSE)


async def _message(
    home: Playground, run_id: str, renderer: RunRenderer, batch: list[Event], seen: int, ending: list[Patch]
) -> bytes:
    """A batch as one message. Only its bytes are kept while a slow reader takes it."""
    patches = await _drawn(home, run_id, renderer, batch, seen)
    return frame(partials(merged([*patches, *ending])), batch[-1].id)


async def _drawn(home: Playground, run_id: str, renderer: RunRenderer, batch: list[Event], seen: int) -> list[Patch]:
    """What a batch changes behind the event ``seen``. A large one is drawn where nobody else waits for it."""

    def draw() -> list[Patch]:
        rendered(renderer, [event for event in batch if event.id <= seen])
        return rendered(renderer, [event for event in batch if event.id > seen])

    if sum(map(size, batch)) < QUICK:
        return draw()
    async with home.drawing_lock(run_id):
        return await home.draw(draw)


async def about(home: Playground, panel: Panel | None, files: Mapping[str, str]) -> Panel | None:
    """The panel, told whether its run was about these texts."""
    if panel is None:
        return None
    try:
        job = (await home.engine.status(panel.id)).job
    except NoSuchRunError:
        return panel
    return replace(panel, same_files=dict(job.files) == dict(files))


async def _renderer(home: Playground, lesson: Lesson, run: RunStatus) -> RunRenderer:
    owner, diagnosis = run.job.owner, home.course_of(lesson).diagnosis
    earlier = owner is not None and lesson.key in await home.progress.reached(owner)
    return RunRenderer(run.id, lesson, following(home, lesson), diagnosis, home.root, run.seconds, earlier=earlier)


async def _progress(home: Playground, seat: str, lesson: Lesson, verdict: Verdict) -> Patch:
    """The course's progress after a verdict, whether or not it is already written down."""
    reached = set(await home.progress.reached(seat)) | ({lesson.key} if verdict.reached else set())
    html = page("_progress.html", root=home.root, where=where(home.course_of(lesson), reached, lesson))
    return Patch("progress", made(html), append=False)
