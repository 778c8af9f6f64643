"""Set up targets on demand: in the background, one set-up at a time, each target once."""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import anyio

from app.toolchain.progress import Say, sparse
from app.toolchain.provision import add_targets

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 60.0

Add = Callable[[Path, Say, tuple[str, ...]], Awaitable[tuple[str, ...]]]
"""Sets up targets and returns those that are still missing, as ``add_targets`` does."""


@dataclass(frozen=True)
class Preparation:
    """The progress of a target's set-up. A target that is ready has none.

    ``since`` is when the state began, on the clock of ``time.monotonic``; ``doing`` is the last line of output.
    """

    state: Literal["waiting", "building", "failed"]
    since: float
    doing: str = ""

    @property
    def pending(self) -> bool:
        """True if the set-up has not ended."""
        return self.state != "failed"


class Demand:
    """The requested targets and their progress. ``want`` and ``of`` return at once; ``serve`` does the work."""

    def __init__(self, cache_dir: Path, add: Add = add_targets) -> None:
        self._cache_dir = cache_dir.absolute()
        self._add = add
        self._known: dict[str, Preparation] = {}
        self._lines: list[str] = []
        self._changed = anyio.Event()

    def want(self, targets: Iterable[str]) -> None:
        """Request the set-up of missing targets. A target that failed is tried again after a minute."""
        now = time.monotonic()
        for target in targets:
            known = self._known.get(target)
            if known is None or (not known.pending and now - known.since > _RETRY_SECONDS):
                self._known[target] = Preparation("waiting", now)
        self._notify()

    def of(self, target: str) -> Preparation | None:
        """Return the progress of a target, or None if it was not requested or is ready."""
        return self._known.get(target)

    async def settled(self, targets: Sequence[str], say: Say) -> None:
        """Wait until each of the targets is ready or has failed.

        Pass the output of the current set-up, from its beginning, to ``say``.
        """
        # Each set-up has a list of its own, so another list means that the next set-up has begun or this one has ended.
        lines, heard = self._lines, 0
        while True:
            changed = self._changed
            for line in lines[heard:]:
                say(line)
            heard = len(lines)
            if lines is not self._lines:
                lines, heard = self._lines, 0
                continue
            if not any(known.pending for target in targets if (known := self._known.get(target))):
                return
            await changed.wait()

    async def serve(self, done: Callable[[], Awaitable[object]]) -> None:
        """Set up requested targets until cancelled. ``done`` is awaited before a target counts as ready."""
        while True:
            changed = self._changed
            while batch := tuple(target for target, known in self._known.items() if known.state == "waiting"):
                await self._set_up(batch, done)
            if changed is self._changed:
                await changed.wait()

    async def _set_up(self, batch: tuple[str, ...], done: Callable[[], Awaitable[object]]) -> None:
        began = time.monotonic()
        self._lines = []

        def say(line: str) -> None:
            self._lines.append(line)
            self._known |= dict.fromkeys(batch, Preparation("building", began, line.strip()))
            self._notify()

        say(f"Setting up {' and '.join(batch)}, once for all users of this playground.")
        lacking = batch
        try:
            lacking = await self._add(self._cache_dir, sparse(say), batch)
        except OSError as error:
            say(f"The cache folder {self._cache_dir} cannot be used: {error.strerror or error}.")
        except Exception:
            # This loop has to survive, for the next request.
            _log.exception("targets could not be set up: %s", " ".join(batch))
            say("The set-up failed. The playground's log has the reason.")
        await done()
        self._lines = []
        for target in batch:
            last = self._known.pop(target)
            if target in lacking:
                self._known[target] = Preparation("failed", time.monotonic(), last.doing)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
