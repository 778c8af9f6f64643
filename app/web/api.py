"""Serve the JSON API: lessons, runs and their events, health. ``docs/api.md`` describes it for programs."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from app.engine import NoSuchRunError, RunPhase, RunStatus
from app.protocol.events import Event, Finished, Verdict, to_json
from app.protocol.machine import TargetState
from app.toolchain import default_toolchain
from app.web.metrics import may_read
from app.web.problem import ProblemError, http_error, no_metrics, no_such_run
from app.web.prose import markdown
from app.web.sse import EventStream, frame
from app.web.state import Playground, event_id

router = APIRouter()
_MOST_FIELDS = 100


def _whole(text: str) -> str:
    """Return the text. Raises ``ValueError`` for half a surrogate pair, which JSON can escape but nobody can store."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it contains half a surrogate pair; remove it") from None
    return text


_Text = Annotated[str, AfterValidator(_whole)]


class CourseSummary(BaseModel):
    """A course in the list; ``post`` is the address of the post that the course follows."""

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
    """A file of a lesson's crate at its start."""

    text: str
    editable: bool


class LessonDetail(LessonSummary):
    """A lesson with everything that a client needs to run it; the first toolchain is the default."""

    text: str
    files: dict[str, LessonFile]
    commands: tuple[str, ...]
    toolchains: tuple[str, ...]
    minutes: int
    target: str | None
    targets: dict[str, TargetState]


class RunRequest(BaseModel):
    """A run to start. ``lesson`` is ``course/slug`` or a slug of the default course; missing files are its own.

    ``again``: see ``JobSpec``.
    """

    model_config = ConfigDict(extra="forbid")

    lesson: _Text
    files: dict[str, str] = {}
    command: _Text
    toolchain: _Text | None = None
    after: _Text | None = None
    again: bool = False

    @model_validator(mode="before")
    @classmethod
    def few(cls, wanted: object) -> object:
        """Refuse countless fields with one error: for each wrong field Pydantic creates 2 KB, for 10 bytes sent."""
        if isinstance(wanted, dict):
            files = wanted.get("files")
            if len(wanted) > _MOST_FIELDS or (isinstance(files, dict) and len(files) > _MOST_FIELDS):
                raise ValueError(f"there are more than {_MOST_FIELDS} fields or files")
        return wanted


class RunAccepted(BaseModel):
    """The run's id, and the path of its events."""

    id: str
    events: str


class RunState(BaseModel):
    """The state of a run, and its last two events once it has them."""

    id: str
    state: RunPhase
    finished: Finished | None
    verdict: Verdict | None


class ErrorBody(BaseModel):
    """The error's stable code, a message that says what to change, and the field at fault."""

    code: str
    message: str
    field: str | None = None


class ErrorAnswer(BaseModel):
    """The body of every answer with a status of 400 or above."""

    error: ErrorBody


class Health(BaseModel):
    """The health of the process, which answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """The readiness of each part: ``ok`` or a sentence; the number of waiting runs, and the longest wait in seconds."""

    ready: bool
    toolchain: str
    isolation: str
    storage: str
    engine: str
    waiting: int
    oldest_wait: float


async def playground(request: Request) -> Playground:
    """Return the playground of this process."""
    state: Playground = request.app.state.playground
    return state


async def known_seat(request: Request) -> str | None:
    """Return the seat of the request's cookie, or None if there is no cookie."""
    return str(request.state.seat) if request.state.seat_known else None


async def owned_run(run_id: str, app: "App", seat: "OptionalSeat") -> RunStatus:
    """Return the run of the path, if this seat may see it."""
    return await app.runs.owned(run_id, seat)


App = Annotated[Playground, Depends(playground)]
OptionalSeat = Annotated[str | None, Depends(known_seat)]
Owned = Annotated[RunStatus, Depends(owned_run)]


async def followed(request: Request, run: Owned, app: App) -> AsyncIterator[None]:
    """Count one more stream of the run until the answer has ended."""
    with app.streams.open(run.id, request.state.caller):
        yield


Responses = dict[int | str, dict[str, Any]]
_WORDS = {
    400: "The request is malformed or addressed to another host",
    403: "A page of another site sent the request",
    404: "The resource does not exist, or belongs to another seat",
    408: "The body took too long to arrive",
    409: "The run has built nothing",
    413: "The body is too large",
    414: "The address is too long",
    415: "The form is not UTF-8",
    422: "A field is missing or invalid",
    429: "Too many requests, streams, downloads or waiting runs; `Retry-After` says when to try again",
    431: "The headers are too large",
    503: "Temporarily unavailable; try again in a few seconds",
}


def errors(*statuses: int) -> Responses:
    """Return the responses of an operation with a status of 400 or above: these, and those of the guard."""
    return {status: {"model": ErrorAnswer, "description": _WORDS[status]} for status in sorted({*statuses, *_GUARD})}


def as_json(errors: Responses) -> Responses:
    """Return these responses for an operation whose successful answer is not JSON; its errors are JSON."""
    schema = {"$ref": f"#/components/schemas/{ErrorAnswer.__name__}"}
    return {
        status: {"description": error["description"], "content": {"application/json": {"schema": schema}}}
        for status, error in errors.items()
    }


_GUARD = (400, 414, 415, 429, 431)
_FRAMES: dict[str, Any] = {
    "description": "Messages, each with one event as JSON and with the event's id",
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
    """Return every course that can be loaded, the default one first."""
    return [
        CourseSummary(id=each.id, title=each.title, post=each.post.address, lessons=len(each.lessons))
        for each in app.shelf.courses
    ]


@router.get("/api/lessons", responses=errors(404, 422, 503))
async def lessons(app: App, course: str | None = None) -> list[LessonSummary]:
    """Return the lessons of a course, by default the default one, in course order."""
    found = app.course(course).lessons
    return [LessonSummary(slug=e.slug, number=e.number, title=e.title, goal=e.goal) for e in found]


@router.get("/api/lessons/{slug}", responses=errors(404, 422, 503))
async def lesson(slug: str, app: App, course: str | None = None) -> LessonDetail:
    """Return a lesson."""
    found = app.lesson(slug, course)
    toolchains = await app.inventory.toolchains(found.targets)
    default = default_toolchain(toolchains, found)
    names = [toolchain.name for toolchain in toolchains]
    return LessonDetail(
        slug=found.slug,
        number=found.number,
        title=found.title,
        goal=found.goal,
        text=markdown(found),
        files={path: LessonFile(text=text, editable=path in found.editable) for path, text in found.files.items()},
        commands=found.commands,
        toolchains=tuple(sorted(names, key=lambda name: default is None or name != default.name)),
        minutes=found.minutes,
        target=found.target,
        targets={one.triple: one.state for one in await app.inventory.target_statuses(found.targets)},
    )


@router.post("/api/runs", status_code=202, responses=errors(403, 404, 408, 409, 413, 422, 503))
async def start_run(wanted: RunRequest, request: Request, app: App, seat: OptionalSeat) -> RunAccepted:
    """Queue a run."""
    parts = (app.lesson(wanted.lesson), wanted.files, wanted.command, wanted.toolchain, wanted.after)
    owner = request.state.queue_owner
    run_id = await app.runs.submit(*parts, seat=seat, queue_owner=owner, again=wanted.again)
    return RunAccepted(id=run_id, events=app.root + request.app.url_path_for("run_events", run_id=run_id))


@router.get("/api/runs/{run_id}", responses=errors(404, 422))
async def run_state(run: Owned, response: Response) -> RunState:
    """Return the state of a run. The header ``Server-Timing`` has the milliseconds of its stages."""
    response.headers["server-timing"] = ", ".join(f"{stage};dur={took:g}" for stage, took in run.timing.items())
    return RunState(id=run.id, state=run.state, finished=run.finished, verdict=run.verdict)


@router.get(
    "/api/runs/{run_id}/events",
    status_code=200,
    response_class=EventStream,
    responses={200: _FRAMES, **as_json(errors(404, 422, 503))},
    dependencies=[Depends(followed)],
)
async def run_events(run: Owned, app: App, last_event_id: Annotated[str | None, Header()] = None) -> EventStream:
    """Stream the run's events from the one after ``Last-Event-ID`` on; ends after the verdict, or with ``gone``."""
    return EventStream(_frames(app.engine.events(run.id, event_id(last_event_id))))


async def _frames(events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    try:
        async for event in events:
            yield frame(to_json(event), event.id)
    except NoSuchRunError:
        yield frame(_error(no_such_run()).model_dump_json(exclude_none=True), event="gone")


@router.delete("/api/runs/{run_id}", status_code=204, responses=errors(403, 404, 408, 413, 422))
async def cancel_run(run: Owned, app: App) -> Response:
    """Cancel a run and end every process it started."""
    await app.engine.cancel(run.id)
    return Response(status_code=204)


@router.get("/healthz", responses=errors())
async def healthz() -> Health:
    """Answer, as long as the process does."""
    return Health()


@router.get("/readyz", response_model=Ready, responses={**errors(), 503: {"model": Ready, "description": "Not ready"}})
async def readyz(app: App) -> JSONResponse:
    """Report toolchain, isolation, storage and engine; 503 until all are ready."""
    state = await app.readiness.now()
    body = Ready(ready=state.ready, **vars(state))
    return JSONResponse(body.model_dump(), 200 if state.ready else 503)


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request, app: App) -> Response:
    """Return the metrics in Prometheus' text format to whom ``PLAYGROUND_METRICS`` names; 404 if it names nobody."""
    wanted = app.settings.metrics
    if not wanted:
        raise http_error(404, "")
    if not may_read(request, wanted):
        raise no_metrics()
    return Response(await app.measured(), media_type=app.metrics.content_type)


def problem_answer(problem: ProblemError) -> JSONResponse:
    """Return the API's answer for a problem."""
    return JSONResponse(_error(problem).model_dump(exclude_none=True), problem.status, problem.headers)


def _error(problem: ProblemError) -> ErrorAnswer:
    return ErrorAnswer(error=ErrorBody(code=problem.code, message=problem.message, field=problem.field))
