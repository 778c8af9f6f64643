"""Limit how often a seat and an address may send requests. Requests from the server's own machine are exempt.

The address is the one that the server reports for the connection or, behind a trusted proxy, the one that the proxy
names.
"""

import math
from ipaddress import IPv6Address, ip_address
from typing import Literal

from limits import RateLimitItem, parse
from starlette.types import Scope

from app.settings import Settings
from app.web.guard.paths import path_of
from app.web.guard.windows import Windows
from app.web.problem import too_often
from app.web.words import RATES

RequestKind = Literal["runs", "imports", "changes", "streams", "reads"]
_SAFE = {"GET", "HEAD", "OPTIONS"}
_ADDRESS_IMPORTS = parse("30/minute")
"""Imports of progress from one address. Each may store a whole body for a new seat, which is kept for long."""


def kind(method: str, path: str) -> RequestKind | None:
    """Return the kind of request that a rate counts, or None for requests that cost next to nothing."""
    if method == "POST" and path.endswith("/runs"):
        return "runs"
    if method == "POST" and path == "/import":
        return "imports"
    if method not in _SAFE:
        return "changes"
    if path.endswith(("/events", "/output")):
        return "streams"
    return None if path.startswith("/static/") or path in ("/healthz", "/readyz", "/metrics") else "reads"


def address_of(scope: Scope) -> str | None:
    """Return the address to count: an IPv4 address or an IPv6 /64 network; None for this machine itself."""
    # The zone of a link-local address, as in fe80::1%eth0, is an interface of this machine and not part of the sender.
    host, _, _ = (scope.get("client") or ("127.0.0.1", 0))[0].partition("%")
    try:
        address = ip_address(host)
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_loopback:
        return None
    return address.exploded[:19] if isinstance(address, IPv6Address) else str(address)


class Rates:
    """A sliding window for each kind of request and each seat or address."""

    def __init__(self, settings: Settings) -> None:
        self._windows = Windows()
        self._limits: dict[RequestKind, tuple[RateLimitItem, RateLimitItem]] = {
            "runs": (parse(settings.seat_runs), parse(settings.address_runs)),
            "imports": (parse(settings.seat_changes), _ADDRESS_IMPORTS),
            "changes": (parse(settings.seat_changes), parse(settings.address_changes)),
            "streams": (parse(settings.seat_streams), parse(settings.address_streams)),
            "reads": (parse(settings.seat_reads), parse(settings.address_reads)),
        }

    def check(self, scope: Scope, seat: str | None) -> None:
        """Count this request; raises ``ProblemError`` 429 with the seconds to wait if there were too many."""
        what = kind(scope["method"], path_of(scope))
        address = address_of(scope) if what else None
        if what is None or address is None:
            return
        by_seat, by_address = self._limits[what]
        # The seat comes first: what its own rate refuses must not use up the rate of everybody behind its address.
        if seat is not None:
            self._hit(by_seat, what, seat, by_address=False)
        self._hit(by_address, what, address, by_address=True)

    def _hit(self, limit: RateLimitItem, what: RequestKind, who: str, *, by_address: bool) -> None:
        wait = self._windows.hit(limit, what, who)
        if wait:
            raise too_often(RATES[what], max(1, math.ceil(wait)), by_address=by_address)
