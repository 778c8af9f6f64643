"""Check the host to which a request is addressed and the site whose page sent it.

An attacker can point a domain of theirs at this machine (DNS rebinding), so only hosts that the operator listed are
answered.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from app.web.problem import changed_host, foreign_host, foreign_origin, other_origin

_AUTHORITY = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+?)\.?(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<authority>.+)", re.ASCII)
_LONGEST = 300
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Host(NamedTuple):
    """A host as a request names it: in lower case, an IPv6 address in brackets; ``port`` is None if none was given."""

    name: str
    port: str | None

    def __str__(self) -> str:
        return self.name if self.port is None else f"{self.name}:{self.port}"


class Hosts:
    """The hosts that are answered: a name for any port, or with a port (``localhost:8000``) for that port only."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = {_parsed(host) or _parsed(f"[{host}]") for host in allowed}

    def check(self, given: Sequence[str]) -> Host:
        """Return the request's host; raises ``ProblemError`` 400 unless there is exactly one, and it is allowed."""
        host = _parsed(given[0]) if len(given) == 1 else None
        if host is None or not {host, Host(host.name, None)} & self._allowed:
            raise foreign_host()
        return host


def check_origin(host: Host, origins: Sequence[str], sites: Sequence[str]) -> None:
    """Raise ``ProblemError`` 403 if the headers say that a page of another site sent the request."""
    foreign_site = any(site not in ("same-origin", "none") for site in sites)
    if foreign_site or len(origins) > 1:
        raise foreign_origin()
    for origin in origins:
        if not _is_at(origin, host):
            # Over plain HTTP, browsers do not say which site a page belongs to.
            shown = origin if _ORIGIN.fullmatch(origin.lower()) and len(origin) < _LONGEST else "another address"
            raise (changed_host if sites else other_origin)(shown, str(host))


def _is_at(origin: str, host: Host) -> bool:
    """Return True if an origin is this host, with either scheme, because a proxy may terminate TLS."""
    parts = _ORIGIN.fullmatch(origin.lower())
    own = _parsed(parts["authority"]) if parts else None
    if parts is None or own is None or own.name != host.name:
        return False
    default = _DEFAULT_PORTS[parts["scheme"]]
    return (own.port or default) == (host.port or default)


def _parsed(text: str) -> Host | None:
    """Return a host and port, or None for anything else, such as a name with a user before it."""
    match = _AUTHORITY.fullmatch(text.lower())
    return Host(match["name"], match["port"]) if match else None
