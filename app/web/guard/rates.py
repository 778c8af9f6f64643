"""How often a seat, and an address, may do what costs something. Whoever is at the machine itself is exempt.

The address is the connection's, as the server reports it: behind a trusted proxy, the one that the proxy names.
"""

import math
from ipaddress import IPv6Address, ip_address
from typing import Literal

from limits import RateLimitItem, parse
from starlette.types import Scope

from app.settings import Settings
from app.web.guard.paths import path_of
from app.web.guard.windows import Windows
from app.web.problem import ProblemError

RequestKind = Literal["runs", "changes", "streams", "reads"]
_SAFE = {"GET", "HEAD", "OPTIONS"}
_WORDS = {"runs": "runs", "changes": "changes", "streams": "event streams", "reads": "requests"}


def kind(method: str, path: str) -> RequestKind | None:
    """What a request costs; None for what costs next to nothing."""
    if method == "POST" and path.endswith("/runs"):
        return "runs"
    if method not in _SAFE:
        return "changes"
    if path.endswith(("/events", "/output")):
        return "streams"
    return None if path.startswith("/static/") or path in ("/healthz", "/readyz") else "reads"


def address_of(scope: Scope) -> str | None:
    """Who is counted as one: an IPv4 address or an IPv6 network of 64 bits; None for this machine itself."""
    # The zone of a link-local address, as in fe80::1%eth0, names an interface of this machine and no sender.
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
    """Moving windows, one for each kind of request, seat and address."""

    def __init__(self, settings: Settings) -> None:
        self._windows = Windows()
        self._limits: dict[RequestKind, tuple[RateLimitItem, RateLimitItem]] = {
            "runs": (parse(settings.seat_runs), parse(settings.address_runs)),
            "changes": (parse(settings.seat_changes), parse(settings.address_changes)),
            "streams": (parse(settings.seat_streams), parse(settings.address_streams)),
            "reads": (parse(settings.seat_reads), parse(settings.address_reads)),
        }

    def check(self, scope: Scope, seat: str | None) -> None:
        """Count this request; raises ``ProblemError`` 429 with the seconds to wait when there were too many."""
        what = kind(scope["method"], path_of(scope))
        address = address_of(scope) if what else None
        if what is None or address is None:
            return
        by_seat, by_address = self._limits[what]
        self._hit(by_address, what, address)
        if seat is not None:
            self._hit(by_seat, what, seat)

    def _hit(self, limit: RateLimitItem, what: RequestKind, who: str) -> None:
        wait = self._windows.hit(limit, what, who)
        if not wait:
            return
        seconds = max(1, math.ceil(wait))
        unit = "second" if seconds == 1 else "seconds"
        message = f"Too many {_WORDS[what]} in a short time. Try again in {seconds} {unit}."
        raise ProblemError(429, "too-often", message, retry_after=seconds)
