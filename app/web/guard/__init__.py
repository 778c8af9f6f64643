"""What stands before every request: which host, which origin, how large, how often, and whose seat.

A page of another site may make a learner's browser post to localhost. Such a request carries an ``Origin``
or ``Sec-Fetch-Site`` that says so and is refused; a script's request carries neither and passes.

``wire`` is the same for what never becomes a request: connections on which nothing goes on.
"""

import secrets
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.settings import Settings
from app.web.guard.bodies import Bodies, Body, check_announced, check_charset
from app.web.guard.callers import LOOPBACK, Caller
from app.web.guard.hosts import Hosts, check_origin
from app.web.guard.paths import mounted, path_of
from app.web.guard.rates import Rates, address_of, kind
from app.web.guard.seats import OLD_NAME, Seats, SeveralSeatsError
from app.web.problem import ProblemError

__all__ = ["OLD_NAME", "Caller", "Guard", "Seats"]

Refuse = Callable[[Request, ProblemError], Response]

_YEAR = 365 * 24 * 3600
_MOST_HEADERS = 100
_MOST_HEADER_BYTES = 16 * 1024
_MOST_TARGET_BYTES = 8 * 1024
_NO_PAGES = ("/api/", "/static/")
_NO_SEATS = ("/static/", "/healthz", "/readyz")
_SAFE = {"GET", "HEAD", "OPTIONS"}
# htmx's extension hx-csp is not used: it guards pages into which markup can slip. Here everything is escaped, no
# attribute holds code, and a nonce on each element would have to be the page's own also in the frames of a stream.
# Only the editor's own sheet needs a nonce; it is made by a script, so no markup of ours carries one.
_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'{}; img-src 'self' data:; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_FEATURES = (
    *("accelerometer", "camera", "display-capture", "geolocation", "gyroscope", "magnetometer", "microphone"),
    *("midi", "payment", "usb"),
)
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
# Browsers read these of documents only, and on the way to a page style sheets and scripts are many.
_OF_DOCUMENTS = [
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", ", ".join(f"{feature}=()" for feature in _FEATURES).encode()),
]
# Whatever may hold a learner's text is for that browser and that moment; a vendored file has its version in its name.
_CACHING = (("/static/vendor/", b"public, max-age=31536000, immutable"), ("/static/", b"no-cache"), ("", b"no-store"))


class Guard:
    """ASGI middleware; sets ``request.state.seat``, ``request.state.seat_known`` and ``request.state.style_nonce``.

    ``request.state.charge()`` counts the request once more, for one that starts several runs.
    ``request.state.seat_cookie`` is the name of the seat's cookie, ``request.state.caller`` who has sent the request.
    ``request.state.queue_owner`` is the seat, or without a cookie the address as the rates count it; ``note_presence``
    gets that owner of each request that the rates count.

    A forged seat cookie counts as none. ``refuse`` says a problem in the form that the address is read in.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        seats: Seats,
        refuse: Refuse,
        note_presence: Callable[[str | None], Awaitable[None]],
    ) -> None:
        self._app = app
        self._settings = settings
        self._seats = seats
        self._refuse = refuse
        self._note_presence = note_presence
        self._hosts = Hosts(settings.allowed_hosts)
        self._rates = Rates(settings)
        self._bodies = Bodies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = mounted(scope, self._settings.root_path)
        nonce = secrets.token_urlsafe(16)
        name = self._seats.name(scope["scheme"], self._settings.root_path)
        state = scope.setdefault("state", {})
        state.update(seat="", seat_known=False, seat_cookie=name, style_nonce=nonce)
        answer = _Answer(send, path_of(scope), nonce)
        try:
            known, moved = self._seat(scope, name)
            seat = known or self._seats.new()
            caller = Caller(address_of(scope) or LOOPBACK, known or "", state.get("hang_up", _stay))
            charge = partial(self._rates.check, scope, known)
            state.update(seat=seat, seat_known=known is not None, caller=caller, charge=charge)
            state["queue_owner"] = known or address_of(scope)
            if known is None or moved:
                answer.cookies = self._cookies(seat, name, scope, moved=moved)
            self._examine(scope, known)
        except ProblemError as problem:
            await self._refuse(Request(scope), problem)(scope, receive, answer)
            return
        if kind(scope["method"], path_of(scope)):
            # A browser's first page gives it the seat under which it will ask from then on.
            await self._note_presence(seat if answer.cookies else state["queue_owner"])
        most, seconds = self._settings.body_bytes, self._settings.request_seconds
        is_form = any("urlencoded" in each.lower() for each in _values(scope, b"content-type"))
        body = Body(receive, most, seconds, caller, self._bodies, is_form=is_form)
        try:
            await self._app(scope, body, answer)
        finally:
            self._bodies.release(body)

    def _seat(self, scope: Scope, name: str) -> tuple[str | None, bool]:
        """The seat whose cookie came, if any, and whether it came under the old name; raises ``ProblemError`` 400."""
        headers = _values(scope, b"cookie")
        if path_of(scope).startswith(_NO_SEATS):
            return None, False
        try:
            known = self._seats.read(headers, name)
        except SeveralSeatsError:
            message = (
                f"Your browser sent two seats of this playground, of which one may have been put there by someone "
                f"else. Delete the cookies named {name}, then load the page again."
            )
            raise ProblemError(400, "two-seats", message) from None
        old = None if known else self._seats.read_old(headers)
        return known or old, old is not None

    def _examine(self, scope: Scope, seat: str | None) -> None:
        safe = scope["method"] in _SAFE
        _check_size(scope)
        # Before all that concerns the sender: an answer that leaves the connection open must know where the body ends.
        lengths, encodings = _values(scope, b"content-length"), _values(scope, b"transfer-encoding")
        check_announced(lengths, encodings, 0 if safe else self._settings.body_bytes)
        host = self._hosts.check(_values(scope, b"host"))
        if not safe:
            check_origin(host, _values(scope, b"origin"), _values(scope, b"sec-fetch-site"))
        self._rates.check(scope, seat)
        check_charset(_values(scope, b"content-type"))

    def _cookies(self, seat: str, name: str, scope: Scope, *, moved: bool) -> list[str]:
        """The cookie of a new seat, or of one that moves to another name; programs and files get none."""
        if path_of(scope).startswith((*_NO_PAGES, *_NO_SEATS)):
            return []
        path = scope.get("root_path") or "/"
        rest = f"Path={path}; HttpOnly; SameSite=Lax" + ("; Secure" if scope["scheme"] == "https" else "")
        gone = [f"{OLD_NAME}=; Max-Age=0; {rest}"] if moved else []
        return [f"{name}={self._seats.sign(seat)}; Max-Age={_YEAR}; {rest}", *gone]


class _Answer:
    """A ``send`` that adds the headers every answer has, and the cookies of a new seat."""

    def __init__(self, send: Send, path: str, nonce: str) -> None:
        self._send = send
        self._path = path
        self._policy = _POLICY.format("" if path.startswith(_NO_PAGES) else f" 'nonce-{nonce}'").encode()
        self.cookies: list[str] = []

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            caching = next(value for start, value in _CACHING if self._path.startswith(start))
            own = [(name, value) for name, value in message.get("headers", ()) if name != b"cache-control"]
            # An answer that nothing has changed leaves the stored headers as they are: to say them again weighs.
            always = _HEADERS if self._path.startswith("/static/") else [*_HEADERS, *_OF_DOCUMENTS]
            fixed = () if message["status"] == 304 else (*always, (b"content-security-policy", self._policy))
            message["headers"] = [*own, *fixed, (b"cache-control", caching)]
            # A page that has set or deleted the cookie has the last word.
            if all(name != b"set-cookie" for name, _ in own):
                message["headers"] += [(b"set-cookie", cookie.encode("latin-1")) for cookie in self.cookies]
        await self._send(message)


def _stay() -> None:
    """Where no connection is, as in tests, none can be ended."""


def _values(scope: Scope, name: bytes) -> list[str]:
    """Every value that the request gives for a header."""
    return [value.decode("latin-1") for each, value in scope["headers"] if each == name]


def _check_size(scope: Scope) -> None:
    """A parser's own limit counts only what has not arrived whole, so a head is measured here once more."""
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    if len(scope["headers"]) > _MOST_HEADERS or sum(len(n) + len(v) for n, v in headers) > _MOST_HEADER_BYTES:
        message = f"A request has at most {_MOST_HEADERS} headers of {_MOST_HEADER_BYTES // 1024} KiB together."
        raise ProblemError(431, "headers-too-large", message, closes=True)
    target = scope.get("raw_path") or scope["path"].encode()
    if len(target) + len(scope.get("query_string", b"")) > _MOST_TARGET_BYTES:
        message = f"An address is at most {_MOST_TARGET_BYTES // 1024} KiB long."
        raise ProblemError(414, "address-too-long", message, closes=True)
    if not target.startswith(b"/"):
        message = "A request names a path that starts with /, and its host in Host."
        raise ProblemError(400, "bad-target", message, closes=True)
