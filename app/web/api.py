"""The JSON API: lessons, runs and their events, health. ``docs/api.md`` describes it for programs."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict

from app.engine import RunStatus, State
from app.events import Finished, Verdict, to_json
from app.lessons import Lesson
from app.toolchain import preferred
from app.web.state import Playground, ProblemError, event_id

router = APIRouter()


class LessonSummary(BaseModel):
    """A lesson in the list."""

    slug: str
    number: int
    title: str
    goal: str


class LessonFile(BaseModel):
    """A file of a lesson's crate as it starts."""

    text: str
    editable: bool


class LessonDetail(LessonSummary):
    """A lesson with all that a client needs to run it; the first toolchain is the default."""

    text: str
    files: dict[str, LessonFile]
    commands: tuple[str, ...]
    toolchains: tuple[str, ...]
    minutes: int
    target: str | None


class RunRequest(BaseModel):
    """A run to start; files that are left out are the lesson's own."""

    model_config = ConfigDict(extra="forbid")

    lesson: str
    files: dict[str, str] = {}
    command: str
    toolchain: str | None = None
    after: str | None = None


class RunAccepted(BaseModel):
    """The run's id, and the path of its events."""

    id: str
    events: str


class RunState(BaseModel):
    """Where a run stands."""

    id: str
    state: State
    finished: Finished | None
    verdict: Verdict | None


class ErrorBody(BaseModel):
    """What went wrong, in one sentence that says what to change."""

    code: str
    message: str
    field: str | None = None


class ErrorAnswer(BaseModel):
    """The body of every answer from 400 up."""

    error: ErrorBody


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


def playground(request: Request) -> Playground:
    """The one playground of this process."""
    state: Playground = request.app.state.playground
    return state


def known_seat(request: Request) -> str | None:
    """The seat whose cookie came with the request; None for a program without one."""
    return str(request.state.seat) if request.state.seat_known else None


def owned_run(run_id: str, app: "App", seat: "Seat") -> RunStatus:
    """The run of the path, if this seat may see it."""
    return app.owned_run(run_id, seat)


App = Annotated[Playground, Depends(playground)]
Seat = Annotated[str | None, Depends(known_seat)]
Owned = Annotated[RunStatus, Depends(owned_run)]
_ERRORS: dict[int | str, dict[str, object]] = {
    "4XX": {"model": ErrorAnswer, "description": "One sentence that says what to change"}
}


@router.get("/api/lessons", responses=_ERRORS)
async def lessons(app: App) -> list[LessonSummary]:
    """Every lesson in course order."""
    return [LessonSummary(slug=e.slug, number=e.number, title=e.title, goal=e.goal) for e in app.lessons]


@router.get("/api/lessons/{slug}", responses=_ERRORS)
async def lesson(slug: str, app: App) -> LessonDetail:
    """One lesson."""
    found = app.lesson(slug)
    return _detail(found, await _names(app, found))


@router.post("/api/runs", status_code=202, responses={**_ERRORS, 503: {"model": ErrorAnswer}})
async def start_run(wanted: RunRequest, request: Request, app: App, seat: Seat) -> RunAccepted:
    """Queue a run."""
    run_id = await app.submit(wanted.lesson, wanted.files, wanted.command, wanted.toolchain, wanted.after, seat)
    return RunAccepted(id=run_id, events=request.app.url_path_for("run_events", run_id=run_id))


@router.get("/api/runs/{run_id}", responses=_ERRORS)
async def run_state(run: Owned) -> RunState:
    """Where a run stands."""
    return RunState(id=run.id, state=run.state, finished=run.finished, verdict=run.verdict)


@router.get("/api/runs/{run_id}/events", response_class=EventSourceResponse, responses=_ERRORS)
async def run_events(
    run: Owned, app: App, last_event_id: Annotated[str | None, Header()] = None
) -> AsyncIterator[ServerSentEvent]:
    """The run's events as they come, from the one after ``Last-Event-ID`` on; ends after the verdict."""
    async for event in app.engine.events(run.id, event_id(last_event_id)):
        yield ServerSentEvent(raw_data=to_json(event), id=str(event.id))


@router.delete("/api/runs/{run_id}", status_code=204, responses=_ERRORS)
async def cancel_run(run: Owned, app: App) -> Response:
    """End a run and all that it started."""
    await app.engine.cancel(run.id)
    return Response(status_code=204)


@router.get("/healthz")
async def healthz() -> Health:
    """Answers as long as the process does."""
    return Health()


@router.get("/readyz")
async def readyz(app: App) -> JSONResponse:
    """Whether toolchain, isolation and storage are ready; 503 until they are."""
    state = await app.readiness()
    body = {"ready": state.ready, "toolchain": state.toolchain, "isolation": state.isolation, "storage": state.storage}
    return JSONResponse(body, 200 if state.ready else 503)


def problem_answer(problem: ProblemError) -> JSONResponse:
    """A problem as the API says it."""
    error = ErrorBody(code=problem.code, message=problem.message, field=problem.field)
    return JSONResponse({"error": error.model_dump(exclude_none=True)}, problem.status)


async def _names(app: Playground, lesson: Lesson) -> tuple[str, ...]:
    toolchains = await app.toolchains()
    default = preferred(toolchains, lesson.target)
    names = [toolchain.name for toolchain in toolchains]
    return tuple(sorted(names, key=lambda name: default is None or name != default.name))


def _detail(lesson: Lesson, toolchains: tuple[str, ...]) -> LessonDetail:
    return LessonDetail(
        slug=lesson.slug,
        number=lesson.number,
        title=lesson.title,
        goal=lesson.goal,
        text=lesson.text,
        files={p: LessonFile(text=t, editable=p in lesson.editable) for p, t in lesson.files.items()},
        commands=lesson.commands,
        toolchains=toolchains,
        minutes=lesson.minutes,
        target=lesson.target,
    )
