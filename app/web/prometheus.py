"""Count what happens, for Prometheus, in a registry of each playground's own. Imported only if ``/metrics`` is enabled.

Counters and histograms are updated as things happen. What has a current value is read on each scrape.
"""

import time
from collections import Counter as Counts
from collections.abc import Iterator, Mapping

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.protocol.worker import Crew
from app.web.metrics import CurrentValues, Metrics

_PRESENT_SECONDS = 300.0
_MOST_PRESENT = 20_000
_WAITS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_LEVELS = ("", "namespaces", "landlock", "none")
"""The values of the label ``isolation``, empty for a run that never started. Anything else is ``other``."""
_PHASES = ("queue", "run", "verdict")
_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 20, 30)


class PrometheusMetrics(Metrics):
    """The metrics of one playground."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._runs = Counter(
            "playground_runs",
            "Runs that have ended, by status, limit and isolation level.",
            ("status", "limit", "isolation"),
            registry=self._registry,
        )
        self._phases = Histogram(
            "playground_run_phase_seconds",
            "Time of a run in each phase: queue, run, verdict.",
            ("phase",),
            buckets=sorted({*_WAITS, *_SECONDS}),
            registry=self._registry,
        )
        for phase in _PHASES:
            self._phases.labels(phase)  # a rate of 0 before the first run, so that an alert sees that none ends
        self._events = Counter("playground_run_events", "Events of runs that have ended.", registry=self._registry)
        self._kept = Counter(
            "playground_kept_answers", "Runs that were answered like an identical one.", registry=self._registry
        )
        self._refusals = Counter(
            "playground_refusals", "Refused requests by the error's code.", ("code",), registry=self._registry
        )
        self._present: dict[str, float] = {}
        self._current = _Current(self)
        self._registry.register(self._current)
        self.now = CurrentValues()

    def ran(self, status: str, limit: str, isolation: str, events: int, phases: Mapping[str, float]) -> None:
        """Count a run that has ended; ``phases`` are seconds."""
        self._runs.labels(status, limit, isolation if isolation in _LEVELS else "other").inc()
        self._events.inc(events)
        for phase, seconds in phases.items():
            self._phases.labels(phase).observe(max(seconds, 0.0))

    def answered(self) -> None:
        """Count a run that was answered like an identical one."""
        self._kept.inc()

    def refused(self, code: str) -> None:
        """Count a refused request."""
        self._refusals.labels(code).inc()

    def seen(self, owner: str | None) -> None:
        """Note that a seat, or an address without one, is here."""
        self._present.pop(owner or "", None)
        self._present[owner or ""] = time.monotonic()
        if len(self._present) > _MOST_PRESENT:
            self._present.pop(next(iter(self._present)))

    def present(self) -> int:
        """Return the number of owners seen in the last five minutes."""
        since = time.monotonic() - _PRESENT_SECONDS
        # The oldest come first, because ``seen`` moves an owner to the end.
        while self._present and next(iter(self._present.values())) < since:
            self._present.pop(next(iter(self._present)))
        return len(self._present)

    def text(self, now: CurrentValues) -> bytes:
        """Return everything in Prometheus' text format."""
        self.now = now
        return generate_latest(self._registry)


class _Current(Collector):
    """The values that are read on each scrape."""

    def __init__(self, metrics: PrometheusMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        now = self._metrics.now
        yield GaugeMetricFamily("playground_queue_runs", "Runs that wait for a slot.", now.waiting)
        yield GaugeMetricFamily("playground_queue_oldest_seconds", "Wait so far of the oldest run.", now.oldest_wait)
        yield GaugeMetricFamily("playground_running_runs", "Runs that have a slot.", now.running)
        yield GaugeMetricFamily("playground_streams", "Open event streams.", now.streams)
        yield GaugeMetricFamily(
            "playground_seats", "Seats, and addresses without one, seen in five minutes.", self._metrics.present()
        )
        yield CounterMetricFamily("playground_store_failures", "Changes that were not stored.", now.store_failures)
        if now.backup_at is not None:
            help_text = "Time of the latest backup."
            yield GaugeMetricFamily("playground_backup_timestamp_seconds", help_text, now.backup_at)
        targets = GaugeMetricFamily("playground_targets", "Targets of the lessons by state.", labels=["state"])
        for state, number in now.targets.items():
            targets.add_metric([state], number)
        yield targets
        if now.crew is not None:
            yield from _of_crew(now.crew)


def _of_crew(crew: Crew) -> Iterator[Metric]:
    """Yield the metrics of workers elsewhere. They announce them, so that no worker needs a port of its own."""
    yield GaugeMetricFamily("playground_broker_connected", "1 if the broker can be reached.", float(crew.connected))
    yield CounterMetricFamily("playground_broker_reconnections", "Reconnections to the broker.", crew.reconnections)
    workers = GaugeMetricFamily("playground_workers", "Workers by state.", labels=["state"])
    states = Counts(state for _, state in crew.workers)
    for state in ("ready", "draining", "refused"):
        workers.add_metric([state], states[state])
    yield workers
    slots = GaugeMetricFamily("playground_worker_slots", "Runs that a worker executes at once.", labels=["worker"])
    busy = GaugeMetricFamily("playground_worker_busy", "Runs in progress at a worker.", labels=["worker"])
    runs = CounterMetricFamily(
        "playground_worker_runs", "Runs of a worker, by what happened.", labels=["worker", "how"]
    )
    for worker, _ in crew.workers:
        slots.add_metric([worker.id], worker.slots)
        busy.add_metric([worker.id], worker.busy)
        for how in ("taken", "taken_over", "fenced", "handed_back"):
            runs.add_metric([worker.id, how], worker.counts.get(how, 0))
    yield from (slots, busy, runs)
