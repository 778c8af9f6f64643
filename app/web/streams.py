"""Limits on open event streams and downloads: of one run, by one seat, by one address, and in all."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from app.settings import Settings
from app.web.guard.callers import Caller
from app.web.guard.shares import Shares
from app.web.problem import ProblemError

_RETRY_SECONDS = 5


class Streams:
    """Counts the open streams. Each costs some tasks and one event under way, so their number bounds the memory."""

    def __init__(self, settings: Settings) -> None:
        self._of_run, self._of_seat = settings.max_run_streams, settings.max_seat_streams
        self._shares: Shares[Caller] = Shares(settings.max_streams, settings.address_share)
        self._open: Counter[str] = Counter()

    @contextmanager
    def open(self, run_id: str, caller: Caller) -> Iterator[None]:
        """One stream, for as long as the block lasts; raises ``ProblemError`` 429 or 503 when there are too many."""
        limits = {f"run {run_id}": self._of_run, f"seat {caller.owner}": self._of_seat}
        if not caller.owner:
            del limits["seat "]
        for key, most in limits.items():
            if self._open[key] >= most:
                message = f"{most} streams of events are open already; close one of them."
                raise ProblemError(429, "too-many-streams", message, retry_after=_RETRY_SECONDS)
        if not self._shares.take(caller):
            message = "Too many pages follow a run at this moment; try again in a few seconds."
            raise ProblemError(503, "too-many-streams", message, retry_after=_RETRY_SECONDS)
        with _counted(self._open, list(limits)), _taken(self._shares, caller):
            yield


class Downloads:
    """Counts the downloads under way. Each holds a file open for as long as its reader likes."""

    def __init__(self, settings: Settings) -> None:
        self._each = settings.max_seat_downloads
        self._shares: Shares[Caller] = Shares(settings.max_downloads, settings.address_share)
        self._open: Counter[str] = Counter()

    @contextmanager
    def open(self, caller: Caller) -> Iterator[None]:
        """One download, for as long as the block lasts; raises ``ProblemError`` 429 or 503 when there are too many."""
        owner = caller.owner or caller.address
        if self._open[owner] >= self._each:
            message = f"{self._each} downloads are under way already; wait until one of them has ended."
            raise ProblemError(429, "too-many-downloads", message, retry_after=_RETRY_SECONDS)
        if not self._shares.take(caller):
            message = "Too many downloads are under way at this moment; try again in a few seconds."
            raise ProblemError(503, "too-many-downloads", message, retry_after=_RETRY_SECONDS)
        with _counted(self._open, [owner]), _taken(self._shares, caller):
            yield


@contextmanager
def _counted(counts: Counter[str], keys: Iterable[str]) -> Iterator[None]:
    counts.update(keys)
    try:
        yield
    finally:
        counts.subtract(keys)
        for key in keys:
            if not counts[key]:
                del counts[key]


@contextmanager
def _taken(shares: Shares[Caller], caller: Caller) -> Iterator[None]:
    try:
        yield
    finally:
        shares.release(caller)
