"""Move a seat to another browser by a link that works once and for ten minutes, or begin a new seat on this one."""

import hashlib
import secrets

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from app.room.model import Member
from app.web.pages.common import Home, Seat, page_answer
from app.web.pages.room.qr import qr_svg
from app.web.pages.room.refusals import link_for_learner, no_such_link, not_joined, still_in_use
from app.web.pages.room.rights import Open, instructor_of, set_seat
from app.web.state import Playground

router = APIRouter()
LEARNER, INSTRUCTOR = "you", "the instructor"
LINK_SECONDS = 10 * 60
_SILENCE = 10 * 60
_ASKED = 3600


def hashed(token: str) -> str:
    """Return what is stored of a link's secret."""
    return hashlib.sha256(token.encode()).hexdigest()


async def make_link(home: Playground, member: Member, state_address: str, maker: str) -> str:
    """Store a new link to the member's seat and return its address."""
    token = secrets.token_urlsafe(16)
    await home.classroom.room.link(hashed(token), member.seat, home.classroom.now() + LINK_SECONDS, maker)
    return f"{state_address.rstrip('/')}/seat/{token}"


@router.post("/class/seat")
async def own_link(request: Request, home: Home, seat: Seat, state: Open) -> Response:
    """Show the learner a link to their own seat, and let the instructor make one, too."""
    member = await home.classroom.room.member(seat)
    if member is None:
        raise not_joined()
    await home.classroom.room.ask(seat, home.classroom.now())
    address = await make_link(home, member, state.address, LEARNER)
    return await page_answer(request, "class_link.html", member=member, address=address, qr=qr_svg(address))


@router.post("/class/another")
async def another(request: Request, home: Home, _state: Open) -> Response:
    """Begin a new seat in this browser; everything of the old one is kept."""
    answer = RedirectResponse(f"{home.root}/", status_code=303)
    set_seat(request, answer, home.seats.new())
    return answer


@router.get("/seat/{token}")
async def offered(request: Request, token: str, home: Home, _state: Open) -> Response:
    """Ask before a link is used: a preview of a chat program must not use it up."""
    found = await home.classroom.room.linked(hashed(token), home.classroom.now())
    member = await home.classroom.room.member(found[0]) if found else None
    if member is None:
        raise no_such_link()
    return await page_answer(request, "class_seat.html", member=member, token=token)


@router.post("/seat/{token}")
async def take(request: Request, token: str, home: Home, _state: Open) -> Response:
    """Give this browser the seat of the link."""
    room = home.classroom.room
    if await instructor_of(request) is not None:
        raise link_for_learner()
    now = home.classroom.now()
    found = await room.linked(hashed(token), now)
    member = await room.member(found[0]) if found else None
    if found is None or member is None:
        raise no_such_link()
    if found[1] == INSTRUCTOR:
        await home.classroom.flush()
        _check_silence(await room.member(found[0]) or member, now)
    if await room.use(hashed(token), now) is None:
        raise no_such_link()
    home.classroom.changed(member.seat)
    answer = RedirectResponse(f"{home.root}/", status_code=303)
    set_seat(request, answer, member.seat)
    return answer


def _check_silence(member: Member, now: float) -> None:
    """Raise ``ProblemError`` 409 if an instructor's link is to a seat whose learner uses it and did not ask."""
    asked = member.asked is not None and now - member.asked <= _ASKED
    if not asked and now - member.seen < _SILENCE:
        raise still_in_use()
