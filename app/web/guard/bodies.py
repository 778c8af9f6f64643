"""Limit request bodies: the size of each and of all together, the time to receive one, and a form's encoding."""

from collections import Counter
from collections.abc import Sequence

import anyio
from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from app.web.guard.callers import Caller
from app.web.problem import (
    ProblemError,
    body_too_large,
    body_too_slow,
    not_utf_8,
    too_many_bodies,
    too_many_fields,
    two_lengths,
    unexpected_body,
)

_MOST_TOGETHER = 32 * 1024 * 1024
_MOST_FIELDS = 1000


class BodyError(HTTPException):
    """A body that broke a rule while it was read. FastAPI lets an ``HTTPException`` through to our handler."""

    def __init__(self, problem: ProblemError) -> None:
        super().__init__(problem.status, problem.message)
        self.problem = problem


class Bodies:
    """The received bytes of the bodies of all unanswered requests, at most ``most``.

    Beyond that, the address whose requests hold the most loses its largest one.
    """

    def __init__(self, most: int = _MOST_TOGETHER) -> None:
        self._most = most
        self._received: dict[Body, int] = {}
        self._total = 0

    def add(self, body: "Body", size: int) -> None:
        """Count received bytes; raises ``BodyError`` if this body is the one that has to give way."""
        self._received[body] = self._received.get(body, 0) + size
        self._total += size
        while self._total > self._most:
            victim = self._victim()
            self.release(victim)
            if victim is body:
                raise BodyError(too_many_bodies())
            victim.caller.give_way()

    def release(self, body: "Body") -> None:
        """Stop counting a body whose request has been answered or has gone."""
        self._total -= self._received.pop(body, 0)

    def _victim(self) -> "Body":
        sums: Counter[str] = Counter()
        for body, size in self._received.items():
            sums[body.caller.address] += size
        heaviest = max(sums, key=sums.__getitem__)
        return max((each for each in self._received if each.caller.address == heaviest), key=self._received.__getitem__)


class Body:
    """A ``receive`` that raises ``BodyError`` if the body exceeds ``most`` bytes or takes more than ``seconds``.

    ``bodies`` counts the received bytes of all requests. ``is_form``: the body is a form with fields between ``&``.
    """

    def __init__(
        self, receive: Receive, most: int, seconds: float, caller: Caller, bodies: Bodies, *, is_form: bool
    ) -> None:
        self.caller = caller
        self._bodies = bodies
        self._is_form = is_form
        self._fields = 0
        self._receive = receive
        self._most = most
        self._left = most
        self._seconds = seconds
        self._deadline: float | None = None
        self._whole = False

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()
        if self._deadline is None:
            self._deadline = anyio.current_time() + self._seconds
        with anyio.CancelScope(deadline=self._deadline) as scope:
            message = await self._receive()
        if scope.cancelled_caught:
            raise BodyError(body_too_slow(self._seconds))
        data: bytes = message.get("body", b"")
        size = len(data)
        self._fields += data.count(b"&") if self._is_form else 0
        self._left -= size
        self._whole = not message.get("more_body", False)
        if self._left < 0:
            raise BodyError(body_too_large(self._most))
        if self._fields > _MOST_FIELDS:
            # The parser's own limit ignores empty fields, and 1 MiB of them takes it half a second.
            raise BodyError(too_many_fields(_MOST_FIELDS))
        if size:
            self._bodies.add(self, size)
        return message


def check_announced(lengths: Sequence[str], encodings: Sequence[str], most: int) -> None:
    """Raise ``ProblemError`` if the headers announce a body that is too large (413) or must not be there (400).

    ``most`` is 0 for a request that must not have a body.
    """
    announced = max((int(length) if length.isdigit() else 0 for length in lengths), default=0)
    if most == 0 and (announced or encodings):
        raise unexpected_body()
    if lengths and encodings:
        # RFC 9112, 6.1: a proxy may have used the other length, and so have passed on a hidden request.
        raise two_lengths()
    if announced > most:
        raise body_too_large(most)


def check_charset(types: Sequence[str]) -> None:
    """Raise ``ProblemError`` 415 for a form that is not UTF-8.

    Starlette decodes a form's fields with any Python codec that ``Content-Type`` names. Some, such as punycode, take
    quadratic time, and some produce half surrogate pairs, which cannot be stored.
    """
    for each in types:
        kind, options = parse_options_header(each)
        if kind == b"multipart/form-data" and options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
            raise not_utf_8()
