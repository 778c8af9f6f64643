"""The JSON API: lessons, runs and their events, health. ``docs/api.md`` describes it for programs."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, model_validator

from app.course.lessons import Lesson
from app.engine import NoSuchRunError, RunPhase, RunStatus
from app.protocol.events import Event, Finished, Verdict, to_json
from app.protocol.machine import TargetState, TargetStatus
from app.toolchain import default_toolchain
from app.web.problem import ProblemError, no_such_run
from app.web.prose import markdown
from app.web.sse import EventStream, frame
from app.web.state import Playground, event_id

router = APIRouter()
_MOST_FIELDS = 100


class CourseSummary(BaseModel):
    """A course in the list; ``post`` is the address of the post that it follows."""

    id: str
    title: str
    post: str
    lessons: int


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
    targets: dict[str, TargetState]


class RunRequest(BaseModel):
    """A run to start, of the lesson ``course/slug`` or a slug of the default course; files left out are its own."""

    model_config = ConfigDict(extra="forbid")

    lesson: str
    files: dict[str, str] = {}
    command: str
    toolchain: str | None = None
    after: str | None = None

    @model_validator(mode="before")
    @classmethod
    def few(cls, wanted: object) -> object:
        """Refuse countless fields as one: Pydantic makes an object for each that is wrong, 2 KB for 10 bytes."""
        if isinstance(wanted, dict) and any(len(each) > _MOST_FIELDS for each in (wanted, _files(wanted))):
            raise ValueError(f"there are more than {_MOST_FIELDS} fields or files")
        return wanted


def _files(wanted: dict[object, object]) -> dict[object, object]:
    files = wanted.get("files")
    return files if isinstance(files, dict) else {}


class RunAccepted(BaseModel):
    """The run's id, and the path of its events."""

    id: str
    events: str


class RunState(BaseModel):
    """Where a run stands."""

    id: str
    state: RunPhase
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


class Ready(BaseModel):
    """What is ready: each part is ``ok`` or a sentence."""

    ready: bool
    toolchain: str
    isolation: str
    storage: str
    engine: str


async def playground(request: Request) -> Playground:
    """The one playground of this process."""
    state: Playground = request.app.state.playground
    return state


async def known_seat(request: Request) -> str | None:
    """The seat whose cookie came with the request; None for a program without one."""
    return str(request.state.seat) if request.state.seat_known else None


async def owned_run(run_id: str, app: "App", seat: "OptionalSeat") -> RunStatus:
    """The run of the path, if this seat may see it."""
    return await app.runs.owned(run_id, seat)


App = Annotated[Playground, Depends(playground)]
OptionalSeat = Annotated[str | None, Depends(known_seat)]
Owned = Annotated[RunStatus, Depends(owned_run)]


async def followed(request: Request, run: Owned, app: App) -> AsyncIterator[None]:
    """One more stream of the run is open until the answer has ended."""
    with app.streams.open(run.id, request.state.caller):
        yield


Responses = dict[int | str, dict[str, Any]]
_WORDS = {
    400: "The request is malformed or addressed to another host",
    403: "A page of another site has sent this",
    404: "There is no such thing, or it is not yours",
    408: "The body took too long to arrive",
    409: "Nothing has been built that could be looked at",
    413: "The body is too large",
    414: "The address is too long",
    415: "The form is not UTF-8",
    422: "A field is missing or cannot be accepted",
    429: "Too often, too many streams or downloads, or too many runs waiting; `Retry-After` says when to try again",
    431: "The headers are too large",
    503: "Not at this moment; try again in a few seconds",
}


def errors(*statuses: int) -> Responses:
    """What an operation may answer from 400 up: these, and what the guard says to any request."""
    return {status: {"model": ErrorAnswer, "description": _WORDS[status]} for status in sorted({*statuses, *_GUARD})}


def as_json(errors: Responses) -> Responses:
    """For an operation that answers in another form when all is well: its errors are JSON all the same."""
    schema = {"$ref": f"#/components/schemas/{ErrorAnswer.__name__}"}
    return {
        status: {"description": error["description"], "content": {"application/json": {"schema": schema}}}
        for status, error in errors.items()
    }


_GUARD = (400, 414, 415, 429, 431)
_FRAMES: dict[str, Any] = {
    "description": "Messages whose data is one event as JSON and whose id is the event's",
    "content": {
        "text/event-stream": {
            "schema": {
                "type": "object",
                "required": ["data", "id"],
                "properties": {
                    "data": {"type": "string", "contentMediaType": "application/json"},
                    "id": {"type": "string", "pattern": "^[0-9]+$"},
                },
            }
        }
    },
}


@router.get("/api/courses", responses=errors())
async def courses(app: App) -> list[CourseSummary]:
    """Every course that can be taught, the default one first."""
    return [
        CourseSummary(id=each.id, title=each.title, post=each.post.address, lessons=len(each.lessons))
        for each in app.shelf.courses
    ]


@router.get("/api/lessons", responses=errors(404, 422, 503))
async def lessons(app: App, course: str | None = None) -> list[LessonSummary]:
    """Every lesson of a course in its order; of the default course when none is named."""
    found = app.course(course).lessons
    return [LessonSummary(slug=e.slug, number=e.number, title=e.title, goal=e.goal) for e in found]


@router.get("/api/lessons/{slug}", responses=errors(404, 422, 503))
async def lesson(slug: str, app: App, course: str | None = None) -> LessonDetail:
    """One lesson."""
    found = app.lesson(slug, course)
    names = await _names(app, found)
    return _detail(found, names, await app.inventory.target_statuses(found.targets))


@router.post("/api/runs", status_code=202, responses=errors(403, 404, 408, 409, 413, 422, 503))
async def start_run(wanted: RunRequest, request: Request, app: App, seat: OptionalSeat) -> RunAccepted:
    """Queue a run."""
    parts = (app.lesson(wanted.lesson), wanted.files, wanted.command, wanted.toolchain, wanted.after)
    run_id = await app.runs.submit(*parts, seat=seat, queue_owner=request.state.queue_owner)
    return RunAccepted(id=run_id, events=app.root + request.app.url_path_for("run_events", run_id=run_id))


@router.get("/api/runs/{run_id}", responses=errors(404, 422))
async def run_state(run: Owned) -> RunState:
    """Where a run stands."""
    return RunState(id=run.id, state=run.state, finished=run.finished, verdict=run.verdict)


@router.get(
    "/api/runs/{run_id}/events",
    status_code=200,
    response_class=EventStream,
    responses={200: _FRAMES, **as_json(errors(404, 422, 503))},
    dependencies=[Depends(followed)],
)
async def run_events(run: Owned, app: App, last_event_id: Annotated[str | None, Header()] = None) -> EventStream:
    """The run's events as they come, from the one after ``Last-Event-ID`` on; ends after the verdict, or ``gone``."""
    return EventStream(_frames(app.engine.events(run.id, event_id(last_event_id))))


async def _frames(events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    try:
        async for event in events:
            yield frame(to_json(event), event.id)
    except NoSuchRunError:
        yield frame(_error(no_such_run()).model_dump_json(exclude_none=True), event="gone")


@router.delete("/api/runs/{run_id}", status_code=204, responses=errors(403, 404, 408, 413, 422))
async def cancel_run(run: Owned, app: App) -> Response:
    """End a run and all that it started."""
    await app.engine.cancel(run.id)
    return Response(status_code=204)


@router.get("/healthz", responses=errors())
async def healthz() -> Health:
    """Answers as long as the process does."""
    return Health()


@router.get("/readyz", response_model=Ready, responses={**errors(), 503: {"model": Ready, "description": "Not ready"}})
async def readyz(app: App) -> JSONResponse:
    """Report toolchain, isolation, storage and engine; 503 until all are ready."""
    state = await app.readiness.now()
    body = Ready(ready=state.ready, **vars(state))
    return JSONResponse(body.model_dump(), 200 if state.ready else 503)


def problem_answer(problem: ProblemError) -> JSONResponse:
    """A problem as the API says it."""
    return JSONResponse(_error(problem).model_dump(exclude_none=True), problem.status, problem.headers)


def _error(problem: ProblemError) -> ErrorAnswer:
    return ErrorAnswer(error=ErrorBody(code=problem.code, message=problem.message, field=problem.field))


async def _names(app: Playground, lesson: Lesson) -> tuple[str, ...]:
    toolchains = await app.inventory.toolchains(lesson.targets)
    default = default_toolchain(toolchains, lesson)
    names = [toolchain.name for toolchain in toolchains]
    return tuple(sorted(names, key=lambda name: default is None or name != default.name))


def _detail(lesson: Lesson, toolchains: tuple[str, ...], target_statuses: tuple[TargetStatus, ...]) -> LessonDetail:
    return LessonDetail(
        slug=lesson.slug,
        number=lesson.number,
        title=lesson.title,
        goal=lesson.goal,
        text=markdown(lesson),
        files={p: LessonFile(text=t, editable=p in lesson.editable) for p, t in lesson.files.items()},
        commands=lesson.commands,
        toolchains=toolchains,
        minutes=lesson.minutes,
        target=lesson.target,
        targets={one.triple: one.state for one in target_statuses},
    )
