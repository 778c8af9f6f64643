"""Follow accepted runs from the web's side: how many wait, for how long, and how each one ended.

An engine reports verdicts but not waits, and it may be on another machine. So the times are those of the web.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.engine import Engine, NoSuchRunError, RunStatus
from app.protocol.events import Event, Finished, Started
from app.protocol.job import JobSpec
from app.web.journal import Journal, current_request
from app.web.metrics import Metrics

_MOST = 5000


@dataclass(frozen=True)
class Load:
    """The runs that wait and those that run, and the seconds that the oldest one has waited."""

    waiting: int
    running: int
    oldest_wait: float


@dataclass(frozen=True)
class _Accepted:
    at: float
    request: str


class RunWatch:
    """The runs that this server has accepted and that have not ended. ``clock`` returns seconds."""

    def __init__(self, metrics: Metrics, journal: Journal, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._journal = journal
        self._clock = clock
        self._open: dict[str, _Accepted] = {}

    def accepted(self, run_id: str) -> None:
        """Note a run that was queued just now, and the request that did it."""
        self._open[run_id] = _Accepted(self._clock(), current_request())
        if len(self._open) > _MOST:
            self._open.pop(next(iter(self._open)))

    def request_of(self, run_id: str) -> str:
        """Return the id of the request that posted the run."""
        accepted = self._open.get(run_id)
        return accepted.request if accepted else ""

    def not_stored(self, error: Exception, lesson: str, run_id: str = "") -> None:
        """Note that a run's texts, or its verdict, could not be stored."""
        request = self.request_of(run_id) or current_request()
        self._journal.not_stored(error, request=request, run=run_id[:8], lesson=lesson)

    def judged(self, job: JobSpec, events: Sequence[Event], *, reached: bool, since_start: float) -> None:
        """Count and note a run that has ended; ``since_start`` are the seconds since it got its slot."""
        accepted = self._open.pop(job.run_id, None)
        end = next((event for event in reversed(events) if isinstance(event, Finished)), None)
        if end is None:
            return
        started = next((event for event in events if isinstance(event, Started)), None)
        isolation = started.isolation if started else ""
        # The seconds of a kept answer are those of the run that it came from.
        kept = started is not None and started.age is not None
        phases = {} if kept else {"run": end.seconds}
        if accepted and started:
            phases["queue"] = self._clock() - accepted.at - since_start
        if accepted and started and not kept:
            phases["verdict"] = since_start - end.seconds
        if kept:
            self._metrics.answered()
        self._metrics.ran(end.status, end.limit or "", isolation, len(events), phases)
        self._journal.ran(
            request=accepted.request if accepted else "",
            # Its whole id would let its reader see a run that was posted without a cookie.
            run=job.run_id[:8],
            course=job.course,
            lesson=job.lesson,
            command=job.command.kind,
            toolchain=job.toolchain,
            isolation=isolation,
            status=end.status,
            limit=end.limit,
            reason=end.reason,
            reached=reached,
            kept=kept,
            **{f"{name}_seconds": round(max(seconds, 0.0), 3) for name, seconds in phases.items()},
        )

    @staticmethod
    async def since_start(engine: Engine, run_id: str) -> float:
        """Return the seconds since the run got its slot, 0 if it is gone."""
        status = await _status(engine, run_id)
        return status.seconds if status else 0.0

    async def load(self, engine: Engine) -> Load:
        """Return the current load, and take the runs off that ended without a verdict's report."""
        waits: list[float] = []
        running = 0
        for run_id, accepted in tuple(self._open.items()):
            status = await _status(engine, run_id)
            if status is None or status.state == "done":
                self._ended(run_id, status)
            elif status.state == "queued":
                waits.append(self._clock() - accepted.at)
            else:
                running += 1
        return Load(len(waits), running, max(waits, default=0.0))

    def _ended(self, run_id: str, status: RunStatus | None) -> None:
        """Count a run that was cancelled before it started, or whose engine was lost."""
        if status and status.finished and run_id in self._open:
            self.judged(status.job, [status.finished], reached=False, since_start=0.0)
        self._open.pop(run_id, None)


async def _status(engine: Engine, run_id: str) -> RunStatus | None:
    try:
        return await engine.status(run_id)
    except NoSuchRunError:
        return None
