"""Show what the learner has built when the post's steps are done, and a picture of it to share."""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.binary.differences import by_kind
from app.binary.model import Card
from app.course import Lesson
from app.engine import NoSuchRunError
from app.web.card import Share, shares
from app.web.pages.common import Home, Seat, Step, page_answer
from app.web.pages.where import where
from app.web.problem import ProblemError, no_such_page
from app.web.render import page
from app.web.state import Playground

router = APIRouter()

_MOST_BYTES = 64
"""Bytes of machine code that the picture draws; the function at the entry point has far fewer."""


@dataclass(frozen=True)
class Built:
    """The learner's binary. ``code``: the bytes of the function at the entry point; ``std``: the std program's size."""

    card: Card
    machine: str
    code: bytes
    code_bytes: int
    shares: tuple[Share, ...]
    std: int | None

    @property
    def cells(self) -> tuple[tuple[int, int, int], ...]:
        """Each byte with its column and row in a picture of sixteen columns."""
        return tuple((value, place % 16, place // 16) for place, value in enumerate(self.code))


@dataclass(frozen=True)
class Predictions:
    """How many predictions have been settled, and how many of them were right."""

    settled: int
    right: int


@router.get("/lessons/{slug}/finish")
async def finish(request: Request, home: Home, seat: Seat, lesson: Step) -> Response:
    """Show the binary, the way to it and what comes next."""
    _check(home, lesson)
    reached = await home.progress.reached(seat)
    here = where(home.course_of(lesson), reached, lesson)
    built = await _built(home, seat, lesson)
    return await page_answer(
        request,
        "finish.html",
        lesson=lesson,
        where=here,
        built=built,
        predictions=await _predictions(home, seat, here.part.lessons),
        beyond=next((part for part in here.parts if part.beyond), None),
        link=_permalink(await home.progress.files(seat, lesson.key), lesson.commands[0]),
    )


@router.get("/lessons/{slug}/finish.svg")
async def picture(home: Home, seat: Seat, lesson: Step) -> Response:
    """Return the picture to share."""
    _check(home, lesson)
    built = await _built(home, seat, lesson)
    if built is None:
        raise no_such_page()
    svg = page("finish.svg", built=built, course=home.course_of(lesson))
    headers = {"content-disposition": 'inline; filename="freestanding.svg"'}
    return Response(svg, media_type="image/svg+xml", headers=headers)


def is_finish(home: Playground, lesson: Lesson) -> bool:
    """Return True if the lesson is the last of the post's own steps."""
    return any(part.lessons[-1] is lesson for part in home.course_of(lesson).parts if not part.beyond)


def _check(home: Playground, lesson: Lesson) -> None:
    if not is_finish(home, lesson):
        raise no_such_page()


async def _built(home: Playground, seat: str, lesson: Lesson) -> Built | None:
    """Return what the seat's last run of the lesson built; None if it built nothing or the server no longer has it."""
    run_id = await home.progress.last_run(seat, lesson.key)
    if run_id is None:
        return None
    try:
        details = await home.runs.artifact_details(run_id, seat)
    except (ProblemError, NoSuchRunError):
        return None
    card = details.card
    code = bytes.fromhex("".join(each.code.replace(" ", "") for each in card.code.instructions)) if card.code else b""
    return Built(
        card=card,
        machine=card.facts.machine or card.facts.format,
        code=code[:_MOST_BYTES],
        code_bytes=by_kind(card)["code"],
        shares=tuple(shares(card)),
        std=details.std.bytes if details.std else None,
    )


async def _predictions(home: Playground, seat: str, lessons: tuple[Lesson, ...]) -> Predictions:
    known = [await home.progress.guides.predicted(seat, lesson.key) for lesson in lessons]
    settled = [each for each in known if each and each.happened]
    return Predictions(len(settled), sum(each.choice == each.happened for each in settled))


def _permalink(files: Mapping[str, str], command: str) -> str:
    """Return the fragment of an address that carries the files, as ``permalink.js`` reads it; no server stores them."""
    packer = zlib.compressobj(level=9, wbits=-15)
    text = json.dumps({"files": dict(files), "command": command}, separators=(",", ":")).encode()
    packed = base64.urlsafe_b64encode(packer.compress(text) + packer.flush())
    return f"#crate={packed.decode().rstrip('=')}"
