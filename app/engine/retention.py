"""Keep finished runs until they are too old, or too many: then the oldest of the owner that takes most room goes."""

import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from itertools import takewhile

import anyio

from app.engine import NoSuchRunError, NothingBuiltError
from app.engine.log import Run
from app.run import runner

_MOST_KEPT = 1000
_MOST_MEMORY = 64 * 1024 * 1024
_MOST_BUILT = 1024 * 1024 * 1024
"""Bounds of the finished runs: their number, the memory of their files and events, the bytes of their artifacts.

An artifact that several runs share counts once. Otherwise some hundred seats that ask for a known answer, which costs
them nothing, could take all the room.
"""
_PIECE = 64 * 1024


class Retention:
    """The runs by their ids, in the order in which they came. Calls ``dropped`` with each run that goes."""

    def __init__(self, ttl: float, dropped: Callable[[Run], None]) -> None:
        self._ttl = ttl
        self._dropped = dropped
        self._runs: dict[str, Run] = {}

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._runs

    def __getitem__(self, run_id: str) -> Run:
        """Return the run. Raises ``NoSuchRunError``."""
        try:
            return self._runs[run_id]
        except KeyError:
            raise NoSuchRunError(run_id) from None

    def add(self, run: Run) -> None:
        """Keep a new run."""
        self._runs[run.id] = run

    def active(self) -> list[Run]:
        """Return the runs that are not done."""
        return [run for run in self._runs.values() if run.state != "done"]

    def of(self, owner: str) -> list[Run]:
        """Return the runs of an owner."""
        return [run for run in self._runs.values() if run.job.owner == owner]

    def built(self, run_id: str) -> runner.Built:
        """Return the run's artifact. Raises ``NoSuchRunError``, ``NothingBuiltError``."""
        built = self[run_id].built
        if built is None or not built.file.exists():
            raise NothingBuiltError(run_id)
        return built

    async def bytes_of(self, run_id: str) -> AsyncGenerator[bytes]:
        """Yield the run's artifact in pieces. Raises ``NoSuchRunError``, ``NothingBuiltError``."""
        built = self.built(run_id)
        try:
            file = await anyio.open_file(built.file, "rb")
        except FileNotFoundError:
            raise NothingBuiltError(run_id) from None
        async with file:
            while piece := await file.read(_PIECE):
                yield piece

    def before(self, run: Run) -> list[Run]:
        """Return the owner's last runs with an artifact before this one: of the same lesson, and of any other."""
        found: dict[bool, Run] = {}
        mine = (run.job.course, run.job.lesson)
        for one in reversed(list(takewhile(lambda one: one is not run, self._runs.values()))):
            if one.built and run.job.owner is not None and one.job.owner == run.job.owner:
                found.setdefault((one.job.course, one.job.lesson) == mine, one)
        return [found[same] for same in (True, False) if same in found]

    def drop(self, run: Run) -> None:
        """Drop a run. Its readers get ``NoSuchRunError``."""
        self._runs.pop(run.id, None)
        run.drop()
        self._dropped(run)

    def expire(self) -> None:
        """Drop finished runs that are too old or take too much room."""
        now = time.monotonic()
        for run in [run for run in self._runs.values() if run.state == "done" and now - run.idle_since > self._ttl]:
            self.drop(run)
        for run in list(surplus(self._runs.values())):
            self.drop(run)


def surplus(runs: Iterable[Run]) -> Iterator[Run]:
    """Yield the finished runs to drop: while they take too much room, the oldest one of the owner that takes most."""
    done = [run for run in runs if run.state == "done"]
    memory = sum(run.memory_bytes for run in done)
    built = sum({run.artifact_id: run.built_bytes for run in done}.values())
    if _share(len(done), memory, built) <= 1:
        return  # the usual case; the rest would take ten times as long
    room = _Room()
    owners: dict[str | None, _Room] = {}
    for run in sorted(done, key=lambda run: run.idle_since):
        room.add(run)
        owners.setdefault(run.job.owner, _Room()).add(run)
    while room.share > 1:
        largest = max(owners.values(), key=lambda each: each.share)
        oldest = largest.runs[0]
        room.remove(oldest)
        largest.remove(oldest)
        yield oldest


def _share(number: int, memory: int, built: int) -> float:
    return max(number / _MOST_KEPT, memory / _MOST_MEMORY, built / _MOST_BUILT)


class _Room:
    """Finished runs in the order in which they were added, and the room that they take."""

    def __init__(self) -> None:
        self.runs: deque[Run] = deque()
        self._memory, self._built = 0, 0
        self._sharing: Counter[object] = Counter()

    @property
    def share(self) -> float:
        """The share that the runs take of the bound that they use most of."""
        return _share(len(self.runs), self._memory, self._built)

    def add(self, run: Run) -> None:
        """Add a run that is not dropped."""
        self.runs.append(run)
        self._count(run, 1)

    def remove(self, run: Run) -> None:
        """Remove a run before it is dropped; it is quick to find near the beginning."""
        self.runs.remove(run)
        self._count(run, -1)

    def _count(self, run: Run, sign: int) -> None:
        self._memory += sign * run.memory_bytes
        before = self._sharing[run.artifact_id]
        self._sharing[run.artifact_id] += sign
        if 0 in (before, before + sign):
            self._built += sign * run.built_bytes
