"""Limit open event streams and downloads per run, per seat, per address and in total."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from app.settings import Settings
from app.web.guard.callers import Caller
from app.web.guard.shares import Shares
from app.web.problem import (
    too_many_downloads,
    too_many_downloads_in_total,
    too_many_streams,
    too_many_streams_in_total,
)


class Streams:
    """Count the open streams. Each costs some tasks and one pending event, so their number bounds the memory."""

    def __init__(self, settings: Settings) -> None:
        self._of_run, self._of_seat = settings.max_run_streams, settings.max_seat_streams
        self._shares: Shares[Caller] = Shares(settings.max_streams, settings.address_share)
        self._open: Counter[str] = Counter()

    def count(self) -> int:
        """Return the number of open streams."""
        return sum(number for key, number in self._open.items() if key.startswith("run "))

    @contextmanager
    def open(self, run_id: str, caller: Caller) -> Iterator[None]:
        """Count one stream for the duration of the block; raises ``ProblemError`` 429 or 503 if too many."""
        limits = {f"run {run_id}": self._of_run, f"seat {caller.owner}": self._of_seat}
        if not caller.owner:
            del limits["seat "]
        for key, most in limits.items():
            if self._open[key] >= most:
                raise too_many_streams(most)
        if not self._shares.take(caller):
            raise too_many_streams_in_total()
        with _counted(self._open, list(limits)), _taken(self._shares, caller):
            yield


class Downloads:
    """Count the running downloads. Each holds a file open for as long as its reader likes."""

    def __init__(self, settings: Settings) -> None:
        self._each = settings.max_seat_downloads
        self._shares: Shares[Caller] = Shares(settings.max_downloads, settings.address_share)
        self._open: Counter[str] = Counter()

    @contextmanager
    def open(self, caller: Caller) -> Iterator[None]:
        """Count one download for the duration of the block; raises ``ProblemError`` 429 or 503 if too many."""
        owner = caller.owner or caller.address
        if self._open[owner] >= self._each:
            raise too_many_downloads(self._each)
        if not self._shares.take(caller):
            raise too_many_downloads_in_total()
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
