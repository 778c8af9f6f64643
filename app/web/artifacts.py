"""Serve a run's artifact to programs: its card as JSON, and the file itself."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Annotated, Any
from urllib.parse import quote

import anyio
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from app.binary.differences import Change, compared
from app.binary.model import Call, Card, Code, Section, Symbols
from app.engine import ArtifactDetails, EarlierArtifact
from app.protocol.visible import visible
from app.stepper import Trace
from app.web.api import App, OptionalSeat, as_json, errors

router = APIRouter()

_FILE: dict[str, Any] = {
    "description": "The file as it was linked",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
_RANGE = _FILE | {"description": "The range of its bytes that was asked for"}


class StdSize(BaseModel):
    """The std hello world of the same toolchain and profile, built for the host."""

    bytes: int
    toolchain: str
    profile: str


class Since(BaseModel):
    """The differences from an earlier binary; ``came`` and ``went`` are names added and removed."""

    run: str
    lesson: str
    changes: tuple[Change, ...]
    came: tuple[str, ...]
    went: tuple[str, ...]


class ArtifactCard(BaseModel):
    """A binary: the facts of the ``artifact`` event and the rest of its card."""

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
    run_id: str, app: App, seat: OptionalSeat, since: Annotated[str | None, Query(max_length=64)] = None
) -> ArtifactCard:
    """Return the card of the run's binary, with the changes since an earlier one."""
    details = await app.runs.artifact_details(run_id, seat, since)
    return card_of(details, lambda one: app.lesson(one.lesson, one.course).name)


@router.get("/api/runs/{run_id}/steps", responses=errors(404, 409, 422))
async def steps(run_id: str, app: App, seat: OptionalSeat) -> Trace:
    """Return an emulator's trace of the program that the run built, from its entry point on."""
    return await app.runs.steps(run_id, seat)


async def _downloading(request: Request, app: App) -> AsyncIterator[None]:
    """Count one more download until the answer has ended."""
    with app.downloads.open(request.state.caller):
        yield


class Download(StreamingResponse):
    """A file, or a range of its bytes, as an attachment, which browsers never display.

    ``tag`` identifies the content, so that an interrupted download can be resumed. The engine's file is closed when the
    reader has gone.
    """

    def __init__(
        self, pieces: AsyncGenerator[bytes], name: str, size: int, tag: str, wanted: range | None = None
    ) -> None:
        quoted = quote(name)
        named = f'filename="{name}"' if quoted == name else f"filename*=utf-8''{quoted}"
        headers = {
            "accept-ranges": "bytes",
            "content-disposition": f"attachment; {named}",
            "content-length": str(size if wanted is None else len(wanted)),
            # Otherwise the middleware would compress the file and block the event loop for seconds.
            "content-encoding": "identity",
            "etag": tag,
        }
        if wanted is not None:
            headers["content-range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{size}"
        super().__init__(
            pieces if wanted is None else _part(pieces, wanted),
            status_code=200 if wanted is None else 206,
            media_type="application/octet-stream",
            headers=headers,
        )
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await self._pieces.aclose()


@router.get(
    "/api/runs/{run_id}/artifact/file",
    status_code=200,
    response_class=Download,
    responses={200: _FILE, 206: _RANGE, **as_json(errors(404, 409, 422, 503))},
    dependencies=[Depends(_downloading)],
)
async def artifact_file(run_id: str, request: Request, app: App, seat: OptionalSeat) -> Download:
    """Return the binary, or the range of it that is asked for, as an attachment, which browsers never display."""
    file, pieces = await app.runs.built(run_id, seat)
    tag = f'"{run_id}"'  # a run builds one file, which never changes
    whole = request.headers.get("if-range", tag) != tag
    wanted = None if whole else _range(request.headers.get("range", ""), file.bytes)
    # A browser shows the name before saving: direction marks could make another extension appear at its end.
    return Download(pieces, visible(file.path.rsplit("/", 1)[-1]), file.bytes, tag, wanted)


def _range(header: str, size: int) -> range | None:
    """Return the one range of bytes that the header asks for; None for none, several, or one beyond the file."""
    match re.fullmatch(r"bytes=(\d{0,15})-(\d{0,15})", header):
        case re.Match() as found if found[1]:
            wanted = range(int(found[1]), min(int(found[2] or size) + 1, size))
        case re.Match() as found if found[2]:
            wanted = range(max(0, size - int(found[2])), size)
        case _:
            return None
    return wanted or None


async def _part(pieces: AsyncIterator[bytes], wanted: range) -> AsyncIterator[bytes]:
    at = 0
    async for piece in pieces:
        if part := piece[max(0, wanted.start - at) : max(0, wanted.stop - at)]:
            yield part
        at += len(piece)
        if at >= wanted.stop:
            return


def card_of(details: ArtifactDetails, name_of: Callable[[EarlierArtifact], str]) -> ArtifactCard:
    """Return a card in the API's form; ``name_of`` returns the name of an earlier binary's lesson."""
    card: Card = details.card
    facts = details.artifact.model_dump(include=set(ArtifactCard.model_fields))
    changes = ((one, compared(one.card, card)) for one in details.earlier)
    return ArtifactCard(
        **facts,
        sections=card.sections,
        symbols=card.symbols,
        code=card.code,
        calls=card.calls,
        unread=card.unread,
        std=StdSize(**vars(details.std)) if details.std else None,
        since=tuple(
            Since(run=one.run_id, lesson=name_of(one), changes=seen.changes, came=seen.came, went=seen.went)
            for one, seen in changes
        ),
    )
