"""Check the host to which a request is addressed and the site whose page sent it.

An attacker can point a domain of theirs at this machine (DNS rebinding), so only hosts that the operator listed are
answered. A literal address of this machine is no such domain.
"""

import re
from collections.abc import Iterable, Sequence

from app.settings.hosts import Host, address, host_name, parse_host, parse_listed_host
from app.web.problem import changed_host, dropped_origin, foreign_host, foreign_origin, other_origin

_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<authority>.+)", re.ASCII)
_FORM = re.compile(r"\s*(application/x-www-form-urlencoded|multipart/form-data|text/plain)\b", re.ASCII | re.IGNORECASE)
_LONGEST = 300
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Hosts:
    """The hosts that are answered: a name for any port, or with a port (``localhost:8000``) for that port only."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = {parse_listed_host(host) for host in allowed}

    def check(self, given: Sequence[str], reached_at: str | None = None) -> Host:
        """Return the request's host; raises ``ProblemError`` 400 unless there is exactly one, and it is allowed.

        ``reached_at`` is this machine's address of the connection. It is allowed if the server listens on every one.
        """
        host = parse_host(given[0]) if len(given) == 1 else None
        if host is None:
            raise foreign_host(None)
        if {host, Host(host.name, None)} & self._allowed:
            return host
        own = address(reached_at) if reached_at else None
        if own is None or host.name != host_name(own):
            raise foreign_host(host.name)
        return host


def check_origin(host: Host, origins: Sequence[str], sites: Sequence[str], *, by_browser: bool = False) -> None:
    """Raise ``ProblemError`` 403 if the headers say that a page of another site sent the request.

    With ``by_browser``, a page of some site has sent it, so headers that do not say which one are refused as well.
    """
    foreign_site = any(site not in ("same-origin", "none") for site in sites)
    if foreign_site or len(origins) > 1:
        raise foreign_origin()
    # `null` and `same-origin` together: the page has the referrer policy `no-referrer`, which is not ours.
    if (by_browser and not origins and not sites) or (sites and "null" in origins):
        raise dropped_origin()
    for origin in origins:
        if not _is_at(origin, host):
            # Over plain HTTP, browsers do not say which site a page belongs to.
            shown = origin if _ORIGIN.fullmatch(origin.lower()) and len(origin) < _LONGEST else "another address"
            raise (changed_host if sites else other_origin)(shown, str(host))


def is_browsers_form(types: Iterable[str], agents: Iterable[str]) -> bool:
    """Return True if a browser sent a form, by the request's ``Content-Type`` and ``User-Agent``.

    Browsers send ``Origin`` with each form. Other bodies do not need this test, because a browser asks before it sends
    them to another site. Programs that are no browsers rarely name themselves Mozilla, as every browser does.
    """
    return any(_FORM.match(each) for each in types) and any(each.startswith("Mozilla/") for each in agents)


def _is_at(origin: str, host: Host) -> bool:
    """Return True if an origin is this host, with either scheme, because a proxy may terminate TLS."""
    parts = _ORIGIN.fullmatch(origin.lower())
    own = parse_host(parts["authority"]) if parts else None
    if parts is None or own is None or own.name != host.name:
        return False
    default = _DEFAULT_PORTS[parts["scheme"]]
    return (own.port or default) == (host.port or default)
