"""Limits on request bodies: the size of one and of all together, the time one may take, and a form's encoding."""

from collections import Counter
from collections.abc import Sequence

import anyio
from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from app.web.guard.callers import Caller
from app.web.problem import ProblemError

_MOST_HELD = 32 * 1024 * 1024
_RETRY_SECONDS = 5
_MOST_FIELDS = 1000


class BodyError(HTTPException):
    """The body broke a rule while it was read; an ``HTTPException``, which FastAPI lets through."""

    def __init__(self, problem: ProblemError) -> None:
        super().__init__(problem.status, problem.message)
        self.problem = problem


class Bodies:
    """The bytes that have arrived of the bodies of all unanswered requests: at most ``most``.

    Beyond that, the address whose requests hold the most loses the largest of them.
    """

    def __init__(self, most: int = _MOST_HELD) -> None:
        self._most = most
        self._held: dict[Body, int] = {}
        self._all = 0

    def add(self, body: "Body", size: int) -> None:
        """Count bytes that have arrived; raises ``BodyError`` when this body is the one that has to give way."""
        self._held[body] = self._held.get(body, 0) + size
        self._all += size
        while self._all > self._most:
            victim = self._victim()
            self.release(victim)
            if victim is body:
                words = "Too much is being sent at this moment; try again in a few seconds."
                raise BodyError(ProblemError(503, "too-much-at-once", words, retry_after=_RETRY_SECONDS, closes=True))
            victim.caller.give_way()

    def release(self, body: "Body") -> None:
        """Count a body no more: its request has been answered, or has gone."""
        self._all -= self._held.pop(body, 0)

    def _victim(self) -> "Body":
        sums: Counter[str] = Counter()
        for body, size in self._held.items():
            sums[body.caller.address] += size
        heaviest = max(sums, key=sums.__getitem__)
        return max((each for each in self._held if each.caller.address == heaviest), key=self._held.__getitem__)


class Body:
    """A ``receive`` that raises ``BodyError`` when the body grows beyond ``most`` bytes or takes too many seconds.

    ``bodies`` counts what has arrived, together with that of all other requests; ``is_form``: fields are between ``&``.
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
            words = f"The request took more than {self._seconds:g} seconds to arrive; send it again."
            raise BodyError(ProblemError(408, "too-slow", words, closes=True))
        data: bytes = message.get("body", b"")
        size = len(data)
        self._fields += data.count(b"&") if self._is_form else 0
        self._left -= size
        self._whole = not message.get("more_body", False)
        if self._left < 0:
            raise BodyError(_too_large(self._most))
        if self._fields > _MOST_FIELDS:
            # The parser's own bound counts no empty fields, and 1 MiB of them takes it half a second.
            words = f"A form has at most {_MOST_FIELDS} fields."
            raise BodyError(ProblemError(400, "too-many-fields", words, closes=True))
        if size:
            self._bodies.add(self, size)
        return message


def check_announced(lengths: Sequence[str], encodings: Sequence[str], most: int) -> None:
    """Raise ``ProblemError`` for what the headers say of the body: 413 too large, 400 where none belongs.

    ``most`` is 0 for a request that takes no body at all.
    """
    announced = max((int(length) if length.isdigit() else 0 for length in lengths), default=0)
    if most == 0 and (announced or encodings):
        raise ProblemError(400, "unexpected-body", "This request takes no body; send it without one.", closes=True)
    if lengths and encodings:
        # RFC 9112, 6.1: a proxy may have taken the other length, and what follows here for a request of its own.
        words = "Content-Length and Transfer-Encoding exclude each other; send one."
        raise ProblemError(400, "two-lengths", words, closes=True)
    if announced > most:
        raise _too_large(most)


def check_charset(types: Sequence[str]) -> None:
    """Raise ``ProblemError`` 415 for a form that is not UTF-8.

    Starlette decodes a form's fields by any codec of Python's that ``Content-Type`` names. Some take time that grows
    with the square of the text, as punycode does, and some make half surrogate pairs, which nothing can store.
    """
    for each in types:
        kind, options = parse_options_header(each)
        if kind == b"multipart/form-data" and options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
            raise ProblemError(415, "not-utf-8", "Send the form in UTF-8.", closes=True)


def _too_large(most: int) -> ProblemError:
    return ProblemError(413, "body-too-large", f"A request is at most {most // 1024} KiB long; send less.")
