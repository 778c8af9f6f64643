"""Targets that are set up when somebody needs them: in the background, one set-up at a time, each target once."""

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
_AGAIN_SECONDS = 60.0

Add = Callable[[Path, Say, tuple[str, ...]], Awaitable[tuple[str, ...]]]
"""Provides targets and gives those that lack in the end, as ``add_targets`` does."""


@dataclass(frozen=True)
class Preparation:
    """How far the set-up of a target is.

    ``waiting`` for its turn, ``building``, or ``failed``; a target that is ready has none. ``doing`` is the last line
    that was said, ``since`` when the state began, by the clock of ``time.monotonic``.
    """

    state: Literal["waiting", "building", "failed"]
    since: float
    doing: str = ""

    @property
    def pending(self) -> bool:
        """Whether the target may still come."""
        return self.state != "failed"


class Demand:
    """What is wanted and how far it is. ``want`` and ``of`` cost nothing; ``serve`` does the work."""

    def __init__(self, cache_dir: Path, add: Add = add_targets) -> None:
        self._cache_dir = cache_dir.absolute()
        self._add = add
        self._known: dict[str, Preparation] = {}
        self._lines: list[str] = []
        self._changed = anyio.Event()

    def want(self, targets: Iterable[str]) -> None:
        """Have targets set up that lack; one that failed is tried again after a minute."""
        now = time.monotonic()
        for target in targets:
            known = self._known.get(target)
            if known is None or (not known.pending and now - known.since > _AGAIN_SECONDS):
                self._known[target] = Preparation("waiting", now)
        self._tell()

    def of(self, target: str) -> Preparation | None:
        """How far the target is; None when nobody wants it, or when it is there."""
        return self._known.get(target)

    async def settled(self, targets: Sequence[str], say: Say) -> None:
        """Wait until each of the targets is there or has failed.

        What the set-up that goes on has said, and what is said meanwhile, goes to ``say``, too.
        """
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
        """Set up what is wanted, until cancelled; ``done`` is awaited before a target counts as ready."""
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
            self._tell()

        say(f"Setting up {' and '.join(batch)}, once for all who need it.")
        lacking = batch
        try:
            lacking = await self._add(self._cache_dir, sparse(say), batch)
        except OSError as error:
            say(f"The cache folder {self._cache_dir} cannot be used: {error.strerror or error}.")
        except Exception:
            # Whatever it was: the next one who needs a target must find somebody at work.
            _log.exception("targets could not be set up: %s", " ".join(batch))
            say("It failed; whoever runs this playground finds why in the log.")
        await done()
        self._lines = []
        for target in batch:
            last = self._known.pop(target)
            if target in lacking:
                self._known[target] = Preparation("failed", time.monotonic(), last.doing)
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
