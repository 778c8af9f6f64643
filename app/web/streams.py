"""How many event streams are open at once: of one run, by one seat, and in all."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from app.settings import Settings
from app.web.problem import ProblemError

_RETRY_SECONDS = 5


class Streams:
    """Counts the open streams. Each costs some tasks and one event under way, so their number bounds the memory."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: Counter[str] = Counter()

    @contextmanager
    def open(self, run_id: str, seat: str | None) -> Iterator[None]:
        """One stream, for as long as the block lasts; raises ``ProblemError`` 429 or 503 when there are too many."""
        keys = ["all", f"run {run_id}", *([f"seat {seat}"] if seat else [])]
        self._check(*keys)
        self._open.update(keys)
        try:
            yield
        finally:
            self._open.subtract(keys)
            for key in keys:
                if not self._open[key]:
                    del self._open[key]

    def _check(self, everything: str, run: str, *seat: str) -> None:
        if self._open[everything] >= self._settings.max_streams:
            message = "Too many pages follow a run at this moment; try again in a few seconds."
            raise ProblemError(503, "too-many-streams", message, retry_after=_RETRY_SECONDS)
        for keys, most in (((run,), self._settings.max_run_streams), (seat, self._settings.max_seat_streams)):
            if any(self._open[key] >= most for key in keys):
                message = f"{most} streams of events are open already; close one of them."
                raise ProblemError(429, "too-many-streams", message, retry_after=_RETRY_SECONDS)
