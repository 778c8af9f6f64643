"""Write one structured line to the log for each run, refusal and failed store, and name each request.

A line has fields instead of prose. It never contains a learner's text, and an address only if the operator asks for it.
"""

import logging
import re
import secrets
from collections.abc import Sequence
from contextvars import ContextVar
from ipaddress import ip_address, ip_network

from starlette.types import Scope

from app.settings import Settings

_log = logging.getLogger("app.journal")
_GIVEN = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_request: ContextVar[str] = ContextVar("request", default="")


def current_request() -> str:
    """Return the id of the request that this task serves, or an empty text outside of one."""
    return _request.get()


class Journal:
    """The lines of one server."""

    def __init__(self, settings: Settings) -> None:
        self._proxies = [ip_network(each, strict=False) for each in settings.trusted_proxies]
        self._access = settings.access_log
        self._addresses = settings.log_addresses

    def begin(self, scope: Scope, given: Sequence[str]) -> str:
        """Set and return the id of this task's request: the given one if a trusted proxy sent it, else a new one."""
        trusted = len(given) == 1 and _GIVEN.fullmatch(given[0]) and self._is_by_proxy(scope)
        request = given[0] if trusted else secrets.token_hex(8)
        _request.set(request)
        return request

    def accessed(self, scope: Scope, status: int, seconds: float) -> None:
        """Note an answered request, if the operator wants such lines. Its query stays out."""
        if self._access:
            fields = {"method": scope["method"], "path": _without_ids(scope["path"]), "status": status}
            _log.info("access", extra={"fields": {**fields, "seconds": round(seconds, 3), **self._who(scope)}})

    def refused(self, scope: Scope, status: int, code: str) -> None:
        """Note a refused request."""
        fields = {"method": scope["method"], "path": _without_ids(scope["path"]), "status": status, "code": code}
        _log.info("refused", extra={"fields": {**fields, **self._who(scope)}})

    def ran(self, **fields: object) -> None:
        """Note a run that has ended."""
        _log.info("run", extra={"fields": fields})

    def not_stored(self, error: Exception, **fields: object) -> None:
        """Note progress that could not be stored."""
        _log.error("not stored", extra={"fields": {**fields, "why": str(error)}})

    def _who(self, scope: Scope) -> dict[str, object]:
        who: dict[str, object] = {"request": current_request()}
        if self._addresses and scope.get("client"):
            who["address"] = scope["client"][0]
        return who

    def _is_by_proxy(self, scope: Scope) -> bool:
        """Return True if a trusted proxy sent the request. uvicorn has then put the client's address, port 0."""
        host, port = scope.get("client") or ("127.0.0.1", 0)
        try:
            return port == 0 or any(ip_address(host) in network for network in self._proxies)
        except ValueError:
            return False


def _without_ids(path: str) -> str:
    """Return the path without the ids of runs and the secrets of links to seats, because both open what they name."""
    return re.sub(r"[0-9a-f]{32}|(?<=/seat/)[^/]+", "ID", path)[:200]
