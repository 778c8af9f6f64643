"""Guard every request: its host, its origin, its size, its rate and its seat.

A page of another site may make a learner's browser post to localhost. Such a request has an ``Origin`` or
``Sec-Fetch-Site`` that says so and is refused; a script's request has neither and passes.

``wire`` guards what never becomes a request: stalled connections.
"""

import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from http import HTTPStatus

import anyio
from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.settings import Settings
from app.settings.hosts import implied_hosts, listens_everywhere
from app.web.guard.bodies import Bodies, Body, check_announced, check_charset
from app.web.guard.callers import LOOPBACK, Caller
from app.web.guard.hosts import Hosts, check_origin, is_browsers_form
from app.web.guard.paths import mounted, path_of
from app.web.guard.rates import Rates, address_of, kind
from app.web.guard.seats import OLD_NAME, Seats, SeveralSeatsError
from app.web.journal import Journal
from app.web.problem import ProblemError, address_too_long, bad_target, headers_too_large, two_seats

__all__ = ["OLD_NAME", "Caller", "Guard", "Seats"]

Refuse = Callable[[Request, ProblemError], Response]

_YEAR = 365 * 24 * 3600
_MOST_HEADERS = 100
_MOST_HEADER_BYTES = 16 * 1024
_MOST_TARGET_BYTES = 8 * 1024
_NO_PAGES = ("/api/", "/static/")
_NO_SEATS = ("/static/", "/healthz", "/readyz", "/metrics")
_SAFE = {"GET", "HEAD", "OPTIONS"}
PAUSE = 0.5
"""Seconds before a request over its rate is refused. They slow down who sends one request after the other."""
# htmx's extension hx-csp, which protects pages with injected markup, is not used. Here everything is escaped, no
# attribute contains code, and each frame of a stream would need the page's own nonce. Only the editor's style sheet
# needs a nonce, and a script creates that sheet, so none of our markup contains one.
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
# A page may contain a learner's text, so no cache may store it. A vendored file has its version in its name.
_CACHING = (("/static/vendor/", b"public, max-age=31536000, immutable"), ("/static/", b"no-cache"), ("", b"no-store"))


class Guard:
    """ASGI middleware that refuses requests and sets these fields of ``request.state`` for the others.

    ``seat`` is the seat of the request, ``seat_known`` True if it came with a cookie, and ``seat_cookie`` the cookie's
    name. ``caller`` is the sender. ``queue_owner`` is the seat or, without a cookie, the address as the rates count it.
    ``style_nonce`` is the nonce of the content security policy. ``charge()`` counts the request once more, for a
    request that starts several runs.

    A forged cookie is ignored. ``refuse`` turns a problem into an answer. ``note_presence`` gets
    the owner of each request that the rates count.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        seats: Seats,
        refuse: Refuse,
        note_presence: Callable[[str | None], Awaitable[None]],
        journal: Journal,
    ) -> None:
        self._journal = journal
        self._app = app
        self._settings = settings
        self._seats = seats
        self._refuse = refuse
        self._note_presence = note_presence
        self._hosts = Hosts((*settings.allowed_hosts, *implied_hosts(settings.host)))
        self._everywhere = listens_everywhere(settings.host)
        self._rates = Rates(settings)
        self._bodies = Bodies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = mounted(scope, self._settings.root_path)
        began = time.monotonic()
        request = self._journal.begin(scope, _values(scope, b"x-request-id"))
        nonce = secrets.token_urlsafe(16)
        name = self._seats.name(scope["scheme"], self._settings.root_path)
        state = scope.setdefault("state", {})
        state.update(seat="", seat_known=False, seat_cookie=name, style_nonce=nonce)
        answer = _Answer(send, path_of(scope), nonce, request)
        try:
            known, moved = self._seat(scope, name)
            seat = known or self._seats.new()
            caller = Caller(address_of(scope) or LOOPBACK, known or "", state.get("hang_up", _no_connection))
            charge = partial(self._rates.check, scope, known)
            state.update(seat=seat, seat_known=known is not None, caller=caller, charge=charge)
            state["queue_owner"] = known or address_of(scope)
            if known is None or moved:
                answer.cookies = self._cookies(seat, name, scope, moved=moved)
            self._examine(scope, known)
        except ProblemError as problem:
            if problem.status == HTTPStatus.TOO_MANY_REQUESTS:
                await anyio.sleep(PAUSE)
            await self._refuse(Request(scope), problem)(scope, receive, answer)
            self._journal.accessed(scope, answer.status, time.monotonic() - began)
            return
        if kind(scope["method"], path_of(scope)):
            # A browser's first page gives it the seat that its next requests will have.
            await self._note_presence(seat if answer.cookies else state["queue_owner"])
        most, seconds = self._settings.body_bytes, self._settings.request_seconds
        is_form = any("urlencoded" in each.lower() for each in _values(scope, b"content-type"))
        body = Body(receive, most, seconds, caller, self._bodies, is_form=is_form)
        try:
            await self._app(scope, body, answer)
        finally:
            self._bodies.release(body)
            self._journal.accessed(scope, answer.status, time.monotonic() - began)

    def _seat(self, scope: Scope, name: str) -> tuple[str | None, bool]:
        """Return the cookie's seat, if any, and True if the cookie has the old name; raises ``ProblemError`` 400."""
        headers = _values(scope, b"cookie")
        if path_of(scope).startswith(_NO_SEATS):
            return None, False
        try:
            known = self._seats.read(headers, name)
        except SeveralSeatsError:
            raise two_seats(name) from None
        old = None if known else self._seats.read_old(headers)
        return known or old, old is not None

    def _examine(self, scope: Scope, seat: str | None) -> None:
        safe = scope["method"] in _SAFE
        _check_size(scope)
        # Check the body before the sender: answers to the latter keep the connection open, so the body's end must be
        # known.
        lengths, encodings = _values(scope, b"content-length"), _values(scope, b"transfer-encoding")
        check_announced(lengths, encodings, 0 if safe else self._settings.body_bytes)
        server = scope.get("server")
        host = self._hosts.check(_values(scope, b"host"), server[0] if server and self._everywhere else None)
        if not safe:
            by_browser = is_browsers_form(_values(scope, b"content-type"), _values(scope, b"user-agent"))
            origins, sites = _values(scope, b"origin"), _values(scope, b"sec-fetch-site")
            check_origin(host, origins, sites, by_browser=by_browser)
        self._rates.check(scope, seat)
        check_charset(_values(scope, b"content-type"))

    def _cookies(self, seat: str, name: str, scope: Scope, *, moved: bool) -> list[str]:
        """Return the cookies for a new seat, or for one whose cookie is renamed; API and static files set none."""
        if path_of(scope).startswith((*_NO_PAGES, *_NO_SEATS)):
            return []
        path = scope.get("root_path") or "/"
        rest = f"Path={path}; HttpOnly; SameSite=Lax" + ("; Secure" if scope["scheme"] == "https" else "")
        gone = [f"{OLD_NAME}=; Max-Age=0; {rest}"] if moved else []
        return [f"{name}={self._seats.sign(seat)}; Max-Age={_YEAR}; {rest}", *gone]


class _Answer:
    """A ``send`` that adds the headers of every answer, and the cookies of a new seat. ``status`` is 0 before one."""

    def __init__(self, send: Send, path: str, nonce: str, request: str) -> None:
        self.status = 0
        self._request = request.encode()
        self._send = send
        self._path = path
        self._policy = _POLICY.format("" if path.startswith(_NO_PAGES) else f" 'nonce-{nonce}'").encode()
        self.cookies: list[str] = []

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            caching = next(value for start, value in _CACHING if self._path.startswith(start))
            own = [(name, value) for name, value in message.get("headers", ()) if name != b"cache-control"]
            # After a 304 the browser keeps its stored headers, so sending them again would only cost bytes.
            always = _HEADERS if self._path.startswith("/static/") else [*_HEADERS, *_OF_DOCUMENTS]
            fixed = () if message["status"] == 304 else (*always, (b"content-security-policy", self._policy))
            message["headers"] = [*own, *fixed, (b"cache-control", caching), (b"x-request-id", self._request)]
            # A page that sets or deletes the cookie itself has priority.
            if all(name != b"set-cookie" for name, _ in own):
                message["headers"] += [(b"set-cookie", cookie.encode("latin-1")) for cookie in self.cookies]
        await self._send(message)


def _no_connection() -> None:
    """End nothing: outside of our server, as in tests, there is no connection to end."""


def _values(scope: Scope, name: bytes) -> list[str]:
    """Return every value of a header in the request."""
    return [value.decode("latin-1") for each, value in scope["headers"] if each == name]


def _check_size(scope: Scope) -> None:
    """Measure the head, because the parser's own limit only counts a head that arrives in pieces."""
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    if len(scope["headers"]) > _MOST_HEADERS or sum(len(n) + len(v) for n, v in headers) > _MOST_HEADER_BYTES:
        raise headers_too_large(_MOST_HEADERS, _MOST_HEADER_BYTES)
    target = scope.get("raw_path") or scope["path"].encode()
    if len(target) + len(scope.get("query_string", b"")) > _MOST_TARGET_BYTES:
        raise address_too_long(_MOST_TARGET_BYTES)
    if not target.startswith(b"/"):
        raise bad_target()
