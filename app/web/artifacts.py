"""What a run built, for programs: its card as JSON, and the file itself."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel

from app.binary.compare import Change, compared
from app.binary.model import Call, Card, Code, Section, Symbols
from app.engine import Inside
from app.stepper import Trace
from app.visible import visible
from app.web.api import App, Seat, as_json, errors

router = APIRouter()

_FILE: dict[str, Any] = {
    "description": "The file as it was linked",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}


class StdSize(BaseModel):
    """The std hello world of the same toolchain and profile, for this computer."""

    bytes: int
    toolchain: str
    profile: str


class Since(BaseModel):
    """What is different from an earlier binary; ``came`` and ``went`` are names."""

    run: str
    lesson: str
    changes: tuple[Change, ...]
    came: tuple[str, ...]
    went: tuple[str, ...]


class ArtifactCard(BaseModel):
    """A binary: the facts of the ``artifact`` event and what else was read of it."""

    path: str
    bytes: int
    sha256: str
    format: str
    machine: str
    entry: int | None
    entry_symbol: str | None
    needed: tuple[str, ...]
    interpreter: str | None
    runtime: tuple[str, ...]
    subsystem: str | None
    sections: tuple[Section, ...]
    symbols: Symbols | None
    code: Code | None
    calls: tuple[Call, ...]
    unread: tuple[str, ...]
    std: StdSize | None
    since: tuple[Since, ...]


@router.get("/api/runs/{run_id}/artifact", responses=errors(404, 409, 422))
async def artifact(
    run_id: str, app: App, seat: Seat, since: Annotated[str | None, Query(max_length=64)] = None
) -> ArtifactCard:
    """What is in the binary that a run built, and what has changed since an earlier one."""
    return card_of(await app.inside(run_id, seat, since))


@router.get("/api/runs/{run_id}/steps", responses=errors(404, 409, 422))
async def steps(run_id: str, app: App, seat: Seat) -> Trace:
    """Every state of the program that a run built, from its entry point on, as an emulator executes it."""
    return await app.steps(run_id, seat)


async def _downloading(request: Request, app: App) -> AsyncIterator[None]:
    """One more download is under way until the answer has ended."""
    with app.downloads.open(request.state.caller):
        yield


@router.get(
    "/api/runs/{run_id}/artifact/file",
    response_class=FileResponse,
    responses={200: _FILE, **as_json(errors(404, 409, 422, 503))},
    dependencies=[Depends(_downloading)],
)
async def artifact_file(run_id: str, app: App, seat: Seat) -> FileResponse:
    """The binary itself, to be kept and never to be shown by a browser."""
    built = app.built(run_id, seat)
    return FileResponse(
        built.file,
        media_type="application/octet-stream",
        # A browser shows the name before the learner keeps the file: an ending must not stand in its middle.
        filename=visible(built.path.rsplit("/", 1)[-1]),
        content_disposition_type="attachment",
        # Otherwise it would be compressed on the way: seconds of the loop that everybody waits for.
        headers={"content-encoding": "identity"},
    )


def card_of(inside: Inside) -> ArtifactCard:
    """A look into a binary in the API's shape."""
    card: Card = inside.card
    facts = inside.artifact.model_dump(include=set(ArtifactCard.model_fields))
    changes = ((one, compared(one.card, card)) for one in inside.earlier)
    return ArtifactCard(
        **facts,
        sections=card.sections,
        symbols=card.symbols,
        code=card.code,
        calls=card.calls,
        unread=card.unread,
        std=StdSize(**vars(inside.std)) if inside.std else None,
        since=tuple(
            Since(run=one.run_id, lesson=one.lesson.name, changes=seen.changes, came=seen.came, went=seen.went)
            for one, seen in changes
        ),
    )
