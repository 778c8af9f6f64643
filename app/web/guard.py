"""What stands before every request: which host, which origin, how large, and whose seat.

A page of another site may make a learner's browser post to localhost. Such a request carries an ``Origin``
or ``Sec-Fetch-Site`` that says so and is refused; a script's request carries neither and passes.
"""

import re
import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "seat"
TOO_LARGE = "body-too-large"
_YEAR = 365 * 24 * 3600
_SEAT = re.compile(r"[0-9a-f]{32}")
_SAFE = {"GET", "HEAD", "OPTIONS"}
_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class BodyTooLargeError(HTTPException):
    """The body grew beyond the limit while it was read; an ``HTTPException``, which FastAPI lets through."""

    def __init__(self, most: int) -> None:
        super().__init__(413, f"A request is at most {most // 1024} KiB long; send less.")


class Guard:
    """ASGI middleware; sets ``request.state.seat`` and ``request.state.seat_known``."""

    def __init__(self, app: ASGIApp, allowed_hosts: Iterable[str], body_bytes: int) -> None:
        self._app = app
        self._hosts = {host.lower() for host in allowed_hosts}
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope["method"], headers)
        seat, known = _seat(headers)
        scope.setdefault("state", {}).update(seat=seat, seat_known=known)
        new_cookie = None if known or scope["path"].startswith(("/api/", "/static/")) else _cookie(seat, scope)
        answer = _Answer(send, new_cookie)
        if refusal:
            await refusal(scope, receive, answer)
            return
        await self._app(scope, _Counted(receive, self._body_bytes), answer)

    def _refusal(self, method: str, headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "")
        if _host_name(host) not in self._hosts:
            allowed = ", ".join(sorted(self._hosts))
            return _problem(
                400, "foreign-host", f"This playground answers to {allowed} only (PLAYGROUND_ALLOWED_HOSTS)."
            )
        if method not in _SAFE and not _same_origin(headers, host):
            return _problem(
                403, "foreign-origin", "A page of another site may not do this; use the playground's own pages."
            )
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self._body_bytes:
            return _problem(413, TOO_LARGE, BodyTooLargeError(self._body_bytes).detail)
        return None


class _Counted:
    """A ``receive`` that raises once the body is larger than it may be."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._most = most
        self._read = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._read += len(message.get("body", b""))
        if self._read > self._most:
            raise BodyTooLargeError(self._most)
        return message


class _Answer:
    """A ``send`` that adds the headers every answer has, and the cookie of a new seat."""

    def __init__(self, send: Send, cookie: str | None) -> None:
        self._send = send
        self._cookie = cookie

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            if self._cookie:
                headers.append("set-cookie", self._cookie)
        await self._send(message)


def _host_name(host: str) -> str:
    name, _, port = host.lower().rpartition(":")
    return name if name and port.isdigit() else host.lower()


def _same_origin(headers: Headers, host: str) -> bool:
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == host.lower()


def _seat(headers: Headers) -> tuple[str, bool]:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        cookie = None
    if cookie and _SEAT.fullmatch(cookie.value):
        return cookie.value, True
    return secrets.token_hex(16), False


def _cookie(seat: str, scope: Scope) -> str:
    secure = "; Secure" if scope.get("scheme") == "https" else ""
    return f"{COOKIE}={seat}; Path={scope.get('root_path') or '/'}; Max-Age={_YEAR}; HttpOnly; SameSite=Lax{secure}"


def _problem(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status)
