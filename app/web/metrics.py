"""Metrics without their library, which takes 1 MB: ``prometheus`` counts, if ``/metrics`` is enabled."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from starlette.requests import Request

from app.protocol.worker import Crew


@dataclass(frozen=True)
class CurrentValues:
    """The values that are read on each scrape.

    ``waiting`` and ``running`` are numbers of runs, ``oldest_wait`` is in seconds, ``streams`` are open event streams,
    ``backup_at`` is the Unix time of the latest backup, ``targets`` are numbers by state, and ``crew`` are the workers
    elsewhere, if they execute the runs.
    """

    waiting: int = 0
    running: int = 0
    oldest_wait: float = 0.0
    streams: int = 0
    store_failures: int = 0
    backup_at: float | None = None
    targets: Mapping[str, int] = field(default_factory=dict)
    crew: Crew | None = None


class Metrics:
    """The metrics of a playground where nobody may read them: nothing is counted."""

    content_type = ""

    def ran(self, status: str, limit: str, isolation: str, events: int, phases: Mapping[str, float]) -> None:
        """Count a run that has ended; ``phases`` are seconds."""

    def answered(self) -> None:
        """Count a run that was answered like an identical one."""

    def refused(self, code: str) -> None:
        """Count a refused request."""

    def seen(self, owner: str | None) -> None:
        """Note that a seat, or an address without one, is here."""

    def text(self, _now: CurrentValues) -> bytes:
        """Return everything in Prometheus' text format."""
        return b""


def metrics_of(wanted: str) -> Metrics:
    """Return the metrics of a playground with this setting ``PLAYGROUND_METRICS``."""
    if not wanted:
        return Metrics()
    from app.web.prometheus import PrometheusMetrics

    return PrometheusMetrics()


def may_read(request: Request, wanted: str) -> bool:
    """Return True if the request has the token that ``PLAYGROUND_METRICS`` is, or comes from the address that it is."""
    try:
        network = ip_network(wanted, strict=False)
    except ValueError:
        given = request.headers.get("authorization", "")
        return hmac.compare_digest(given.encode(), f"Bearer {wanted}".encode())
    try:
        return request.client is not None and ip_address(request.client.host) in network
    except ValueError:
        return False
