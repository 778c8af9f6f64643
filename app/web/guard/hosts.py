"""Which host a request is addressed to and which site's page sent it.

A name that an attacker owns may be made to lead to this machine (DNS rebinding): only the names that the
operator listed are answered.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from app.web.problem import ProblemError

_AUTHORITY = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+?)\.?(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<authority>.+)", re.ASCII)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Host(NamedTuple):
    """A host as a request names it: in small letters, an IPv6 address in brackets, no port when none was given."""

    name: str
    port: str | None


class Hosts:
    """The hosts that are answered: names, for any port or, with one (``localhost:8000``), for that alone."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = {_parsed(host) or _parsed(f"[{host}]") for host in allowed}

    def check(self, given: Sequence[str]) -> Host:
        """The host that the request names; raises ``ProblemError`` 400 unless it is exactly one of the allowed."""
        host = _parsed(given[0]) if len(given) == 1 else None
        if host is None or not {host, Host(host.name, None)} & self._allowed:
            raise ProblemError(
                400,
                "foreign-host",
                "This playground does not answer to that host; whoever runs it adds it to PLAYGROUND_ALLOWED_HOSTS.",
            )
        return host


def check_origin(host: Host, origins: Sequence[str], sites: Sequence[str]) -> None:
    """Raise ``ProblemError`` 403 when the headers say that a page of another site has sent the request."""
    foreign_site = any(site not in ("same-origin", "none") for site in sites)
    if foreign_site or len(origins) > 1 or not all(_is_at(origin, host) for origin in origins):
        raise ProblemError(
            403, "foreign-origin", "A page of another site may not do this; use the playground's own pages."
        )


def _is_at(origin: str, host: Host) -> bool:
    """Whether an origin is this host. Its scheme may be either: TLS may end at a proxy before this server."""
    parts = _ORIGIN.fullmatch(origin.lower())
    own = _parsed(parts["authority"]) if parts else None
    if parts is None or own is None or own.name != host.name:
        return False
    default = _DEFAULT_PORTS[parts["scheme"]]
    return (own.port or default) == (host.port or default)


def _parsed(text: str) -> Host | None:
    """A host and port, or None for anything else, such as a name with a user before it."""
    match = _AUTHORITY.fullmatch(text.lower())
    return Host(match["name"], match["port"]) if match else None
