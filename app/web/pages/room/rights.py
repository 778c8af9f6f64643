"""Tell instructors from learners: a key that is posted once becomes a signed cookie of its own."""

import hmac
from typing import Annotated, Literal

from fastapi import Depends, Path, Request
from fastapi.responses import Response
from limits import parse

from app.room.model import ClassState
from app.web.classroom import signed
from app.web.guard.callers import LOOPBACK
from app.web.guard.rates import address_of
from app.web.pages.common import playground_of
from app.web.pages.room.refusals import no_class, not_instructor
from app.web.problem import too_often
from app.web.state import Playground
from app.web.words import ATTEMPTS

_DAYS = 14
_OF_SEAT, _OF_ADDRESS = parse("5/minute"), parse("100/minute")


def cookie_name(request: Request) -> str:
    """Return the name of the instructor's cookie, which differs from the seat's in one word."""
    name: str = request.state.seat_cookie
    return name.replace("seat-", "class-")


async def instructor_of(request: Request) -> str | None:
    """Return the id of the instructor whose cookie the request has, or None."""
    name_id, _, _ = (given := request.cookies.get(cookie_name(request), "")).partition(".")
    if not given.isascii():
        return None
    known = await playground_of(request).classroom.room.instructors() if given else {}
    key, _ = known.get(name_id, ("", ""))
    return name_id if key and hmac.compare_digest(given, signed(name_id, key)) else None


async def instructor_with(home: Playground, key: str) -> str | None:
    """Return the id of the instructor who has that key, or None; every key is compared, in constant time."""
    found = None
    for name_id, (known, _) in (await home.classroom.room.instructors()).items():
        if hmac.compare_digest(key.encode(), known.encode()):
            found = name_id
    return found


async def _instructor(request: Request) -> str:
    found = await instructor_of(request)
    if found is None:
        raise not_instructor()
    return found


async def _open(request: Request) -> ClassState:
    found = await playground_of(request).classroom.state()
    if found is None:
        raise no_class()
    return found


Instructor = Annotated[str, Depends(_instructor)]
Open = Annotated[ClassState, Depends(_open)]
Number = Annotated[int, Path(ge=1, lt=2**63)]
"""The number of a row in the database, which has no larger ones."""


def count_attempt(request: Request, what: Literal["join", "key"]) -> None:
    """Count an attempt to join, or a wrong key; raises ``ProblemError`` 429 for too many.

    Requests from this machine count, too: behind a proxy that hides addresses, everybody comes from here.
    """
    attempts = playground_of(request).classroom.attempts
    address = address_of(request.scope) or LOOPBACK
    owner = request.state.seat if request.state.seat_known else address
    # The seat comes first, as in ``Rates``: what its own limit refuses must not use up that of the class's address.
    for limit, who in ((_OF_SEAT, f"owner {owner}"), (_OF_ADDRESS, f"address {address}")):
        if wait := attempts.hit(limit, what, who):
            raise too_often(ATTEMPTS, int(wait) + 1)


def set_cookie(request: Request, answer: Response, value: str) -> None:
    """Add the instructor's cookie to an answer."""
    answer.set_cookie(
        cookie_name(request),
        value,
        max_age=_DAYS * 24 * 3600,
        path=playground_of(request).root or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def set_seat(request: Request, answer: Response, seat: str) -> None:
    """Give the browser another seat with an answer."""
    home = playground_of(request)
    answer.set_cookie(
        request.state.seat_cookie,
        home.seats.sign(seat),
        max_age=365 * 24 * 3600,
        path=home.root or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
