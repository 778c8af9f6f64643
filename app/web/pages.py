"""The pages: course map and lessons, and a run as HTML. Each works by plain form posts.

htmx asks for the same things and gets fragments: a posted run answers with its panel, which follows
``/runs/{id}/events``, a stream of HTML with the ids of the events it shows.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import anyio
from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from markupsafe import Markup

from app import __version__
from app.command import CommandError, parse
from app.engine import NoSuchRunError
from app.events import Artifact, Event, Verdict
from app.lessons import Lesson
from app.toolchain import Toolchain, examine, preferred
from app.web.guard import COOKIE
from app.web.problem import ProblemError
from app.web.render import Patch, RunRenderer, fold, made, page, partials
from app.web.sse import EventStream, frame
from app.web.state import Playground, event_id

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

_CLOSE = "run-done"  # the panel's hx-sse:close waits for it


@dataclass(frozen=True)
class Typed:
    """What the learner has in the form: the files, the command, and what else was chosen."""

    files: Mapping[str, str]
    command: str
    toolchain: str | None = None
    after: str | None = None
    shown: str | None = None
    offered: bool = False


@dataclass(frozen=True)
class Panel:
    """A run on the page. ``live``: it still goes on, and the panel follows it; ``fresh``: it was posted just now."""

    id: str
    live: bool
    fresh: bool = False
    slots: Mapping[str, Markup] = field(default_factory=dict)


def _playground(request: Request) -> Playground:
    playground: Playground = request.app.state.playground
    return playground


def _seat(request: Request) -> str:
    seat: str = request.state.seat
    return seat


# What FastAPI awaits itself: a plain function would go through a thread for each request.
async def _home(request: Request) -> Playground:
    return _playground(request)


async def _own_seat(request: Request) -> str:
    return _seat(request)


async def _lesson(slug: str, request: Request) -> Lesson:
    return _playground(request).lesson(slug)


async def _run_lesson(run_id: str, request: Request) -> Lesson:
    """The lesson of a run that this seat may read."""
    return _playground(request).owned_run(run_id, _seat(request)).job.lesson


async def _followed(run_id: str, request: Request) -> AsyncIterator[None]:
    """One more stream is open until the answer has ended."""
    playground, seat = _playground(request), _seat(request)
    with playground.streams.open(playground.owned_run(run_id, seat).id, seat):
        yield


Home = Annotated[Playground, Depends(_home)]
Seat = Annotated[str, Depends(_own_seat)]
Step = Annotated[Lesson, Depends(_lesson)]
RunStep = Annotated[Lesson, Depends(_run_lesson)]


@router.get("/")
async def course(request: Request, home: Home, seat: Seat, forgotten: bool = False) -> Response:
    """The course map."""
    reached = await home.progress.reached(seat)
    last = await home.progress.last_lesson(seat)
    return await _page(
        request,
        "index.html",
        lessons=home.lessons,
        reached=reached,
        next=_continue(home.lessons, reached, last),
        begun=bool(reached or last),
        minutes=sum(lesson.minutes for lesson in home.lessons),
        note="Everything that was stored of you is deleted." if forgotten else "",
    )


@router.get("/lessons/{slug}")
async def lesson_page(request: Request, home: Home, seat: Seat, lesson: Step) -> Response:
    """One lesson, as the learner left it; a run that still goes on is followed again."""
    panel, after, toolchain = await _last_run(home, seat, lesson)
    typed = Typed(
        files=await home.progress.files(seat, lesson.slug),
        command=await home.progress.last_command(seat, lesson.slug) or lesson.commands[0],
        toolchain=toolchain,
        after=after,
    )
    return await _lesson_page(request, lesson, typed, panel)


@router.get("/lessons/{slug}/runs")
async def run_address(lesson: Step) -> Response:
    """Where the browser stands after a run without scripts; typed in again, it leads back to the lesson."""
    return _to(lesson)


@router.post("/lessons/{slug}/runs")
async def run(request: Request, home: Home, seat: Seat, lesson: Step) -> Response:
    """Run the posted files: the panel that follows the run for htmx, else the finished page."""
    typed = await _typed(request)
    try:
        run_id = await home.submit(
            lesson.slug, typed.files, typed.command, typed.toolchain, _looked_at(typed), seat, attended=True
        )
    except ProblemError as problem:
        if _by_htmx(request):
            raise
        return await _lesson_page(request, lesson, typed, None, problem)
    if _by_htmx(request):
        panel = Panel(run_id, live=True, fresh=True)
        return HTMLResponse(page("_posted.html", run=panel, offered=typed.offered, command=typed.command))
    panel, built = await _finished(home, lesson, run_id)
    return await _lesson_page(request, lesson, typed, panel, after=built)


@router.get("/runs/{run_id}/events", dependencies=[Depends(_followed)])
async def events(
    run_id: str, home: Home, seat: Seat, lesson: RunStep, last_event_id: Annotated[str, Header()] = ""
) -> EventStream:
    """The run as HTML for the panel: a message for each event, then ``run-done``."""
    return EventStream(_frames(home, seat, lesson, run_id, event_id(last_event_id)))


@router.post("/runs/{run_id}/cancel")
async def cancel(request: Request, run_id: str, home: Home, lesson: RunStep) -> Response:
    """End a run; the panel learns of it by the run's own last events."""
    await home.engine.cancel(run_id)
    return Response(status_code=204) if _by_htmx(request) else _to(lesson)


@router.post("/lessons/{slug}/reset")
async def reset(home: Home, seat: Seat, lesson: Step) -> Response:
    """Give the lesson's own files back."""
    await home.progress.reset(seat, lesson.slug)
    return _to(lesson)


@router.post("/lessons/{slug}/carry")
async def carry(request: Request, home: Home, seat: Seat, lesson: Step) -> Response:
    """Bring the files of another lesson along, as far as they can be edited here."""
    origin = home.lesson(_text(await request.form(), "from"))
    carried = await home.progress.files(seat, origin.slug)
    kept = await home.progress.files(seat, lesson.slug)
    files = {path: carried.get(path, kept.get(path)) for path in lesson.editable}
    await home.progress.save(seat, lesson.slug, {path: text for path, text in files.items() if text is not None})
    return _to(lesson)


@router.post("/forget")
async def forget(home: Home, seat: Seat) -> Response:
    """Delete all that is stored of this seat."""
    await home.forget(seat)
    answer = RedirectResponse("/?forgotten=1", status_code=303)
    answer.delete_cookie(COOKIE)
    return answer


def problem_page(request: Request, problem: ProblemError) -> HTMLResponse:
    """What went wrong: a fragment for htmx, which puts it beside the command, else a page."""
    if _by_htmx(request):
        return HTMLResponse(page("_problem.html", problem=problem), problem.status, problem.headers)
    footer = _footer(_playground(request))
    return HTMLResponse(page("problem.html", problem=problem, footer=footer), problem.status, problem.headers)


async def _page(request: Request, template: str, status: int = 200, **context: object) -> HTMLResponse:
    playground = _playground(request)
    toolchains = await playground.toolchains()
    context = {"toolchains": toolchains, "footer": _footer(playground, toolchains), **context}
    return HTMLResponse(page(template, **context), status_code=status)


def _footer(playground: Playground, toolchains: tuple[Toolchain, ...] | None = None) -> Mapping[str, str]:
    """What stands below a page; without ``toolchains`` it says nothing of them."""
    best = preferred(toolchains or (), None)
    rust = "" if toolchains is None else f"Rust {best.name}" if best else "no Rust toolchain"
    return {"rust": rust, "isolation": playground.isolation, "version": __version__}


async def _lesson_page(
    request: Request,
    lesson: Lesson,
    typed: Typed,
    panel: Panel | None,
    problem: ProblemError | None = None,
    after: str | None = None,
) -> HTMLResponse:
    home = _playground(request)
    number = home.lessons.index(lesson)
    best = preferred(await home.toolchains(), lesson.target)
    able = best is not None and best.can_build(lesson.target)
    return await _page(
        request,
        "lesson.html",
        problem.status if problem else 200,
        lesson=lesson,
        lessons=home.lessons,
        current=lesson.slug,
        position=number + 1,
        previous=home.lessons[number - 1] if number else None,
        following=_following(home, lesson),
        reached=await home.progress.reached(_seat(request)),
        files=_files(lesson, typed.files),
        shown=typed.shown if typed.shown in lesson.files else lesson.editable[0],
        solution={path: text for path, text in lesson.solution.items() if text != lesson.files.get(path)},
        command=typed.command,
        toolchain=typed.toolchain or (best.name if best else None),
        missing=None if able else await examine(home.settings.cache_dir),
        after=after or typed.after,
        problem=problem,
        run=panel,
    )


def _files(lesson: Lesson, texts: Mapping[str, str]) -> list[Mapping[str, object]]:
    """The crate's files as the editor shows them, those that can be edited first."""
    others = [path for path in lesson.files if path not in lesson.editable]
    return [_file(path, texts.get(path, lesson.files[path]), editable=True) for path in lesson.editable] + [
        _file(path, lesson.files[path], editable=False) for path in others
    ]


def _file(path: str, text: str, *, editable: bool) -> Mapping[str, object]:
    return {"path": path, "text": text, "editable": editable, "rows": min(max(text.count("\n") + 2, 8), 16)}


def _continue(lessons: Sequence[Lesson], reached: Mapping[str, object], last: str | None) -> Lesson | None:
    """The step to go on with: the one last tried if it is open, else the next open one after it, if any is open."""
    start = next((number for number, lesson in enumerate(lessons) if lesson.slug == last), 0)
    ahead = [*lessons[start:], *lessons[:start]]
    return next((lesson for lesson in ahead if lesson.slug not in reached), None)


def _following(home: Playground, lesson: Lesson) -> Lesson | None:
    later = home.lessons[home.lessons.index(lesson) + 1 :]
    return later[0] if later else None


def _renderer(home: Playground, lesson: Lesson, run_id: str) -> RunRenderer:
    return RunRenderer(run_id, lesson, _following(home, lesson), home.diagnosis)


async def _progress(home: Playground, seat: str, lesson: Lesson, verdict: Verdict) -> Patch:
    """The course's progress after a verdict, whether or not it is already written down."""
    reached = set(await home.progress.reached(seat)) | ({lesson.slug} if verdict.reached else set())
    html = page("_progress.html", lessons=home.lessons, reached=reached, current=lesson.slug)
    return Patch("progress", made(html), append=False)


async def _last_run(home: Playground, seat: str, lesson: Lesson) -> tuple[Panel | None, str | None, str | None]:
    """The seat's latest run here while the engine keeps it, the run whose artefact can be looked at, its toolchain."""
    run_id = await home.progress.last_run(seat, lesson.slug)
    if run_id is None:
        return None, None, None
    try:
        status = home.engine.status(run_id)
        if status.state != "done":
            return Panel(run_id, live=True), status.job.after, status.job.toolchain.name
        panel, built = await _finished(home, lesson, run_id)
    except NoSuchRunError:
        return None, None, None
    return panel, built or status.job.after, status.job.toolchain.name


async def _finished(home: Playground, lesson: Lesson, run_id: str) -> tuple[Panel, str | None]:
    """A run's panel when it has ended, which this waits for; and its id once more if it built something."""
    log: list[Event] = [event async for event in home.engine.events(run_id)]
    built = run_id if any(isinstance(event, Artifact) for event in log) else None
    # A megabyte of colours takes most of a second: not on the loop that everybody waits for, and one at a time.
    slots = await anyio.to_thread.run_sync(fold, _renderer(home, lesson, run_id), log, limiter=home.rendering)
    return Panel(run_id, live=False, slots=slots), built


async def _frames(home: Playground, seat: str, lesson: Lesson, run_id: str, seen: int) -> AsyncIterator[bytes]:
    renderer = _renderer(home, lesson, run_id)
    # From the first event on, also after a lost connection: a colour may have been left open before.
    async for event in home.engine.events(run_id):
        patches = renderer.patches(event)
        if isinstance(event, Verdict):
            patches.append(await _progress(home, seat, lesson, event))
        if event.id > seen:
            yield frame(partials(patches), event.id)
        if isinstance(event, Verdict):
            # Not at every end: a server that stops ends its streams too, and those are to be asked for again.
            yield frame("", event=_CLOSE)


async def _typed(request: Request) -> Typed:
    """The posted form. An offered command's button wins over the line; browsers' line ends become LF."""
    form = await request.form()
    files = {name.removeprefix("file:"): _text(form, name) for name in form if name.startswith("file:")}
    offered = _text(form, "offered")
    return Typed(
        files={path: text.replace("\r\n", "\n").replace("\r", "\n") for path, text in files.items()},
        command=offered or _text(form, "command"),
        toolchain=_text(form, "toolchain") or None,
        after=_text(form, "after") or None,
        shown=_text(form, "shown") or None,
        offered=bool(offered),
    )


def _text(form: Mapping[str, object], name: str) -> str:
    """A field as text; an upload in its place counts as nothing."""
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def _looked_at(typed: Typed) -> str | None:
    """The earlier run that the command looks at; a build looks at none, so an expired one cannot hinder it."""
    try:
        return typed.after if parse(typed.command).needs_artifact else None
    except CommandError:
        return None  # which the playground refuses in its own words


def _by_htmx(request: Request) -> bool:
    return request.headers.get("hx-request") == "true"


def _to(lesson: Lesson) -> RedirectResponse:
    return RedirectResponse(f"/lessons/{lesson.slug}", status_code=303)
