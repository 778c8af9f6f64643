"""The slots of runs, and what is made ahead for the next run in each: its folder, and a sandbox that waits."""

import logging
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from app.engine.scratch import Scratch
from app.run.workspace import Seed, Workspace
from app.runfiles import in_thread
from app.sandbox import Box, Parked, ProgramGoneError, parked

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Needs:
    """The needs of a run: the folders that it reads, the name of its crate, and the seed."""

    readable: tuple[Path, ...]
    crate: str
    seed: Seed


@dataclass(frozen=True)
class Ready:
    """A folder with a seed, and a process that waits in it. Closing ``stack`` ends the one and removes the other."""

    needs: Needs
    workspace: Workspace
    parked: Parked
    stack: AsyncExitStack
    until: float

    @property
    def usable(self) -> bool:
        """Return True unless it is too old, or was killed for want of memory."""
        return self.parked.child.process.returncode is None and time.monotonic() < self.until


class Slot:
    """A place for one run at a time, with a box of its own.

    What was made ahead is used for ``seconds``: it shows folders as they were then, and compilers are replaced.
    """

    def __init__(self, box: Box, scratch: Scratch, seconds: float) -> None:
        self.box = box
        self._scratch = scratch
        self._seconds = seconds
        self._ready: Ready | None = None
        self._preparing = False

    def take(self, needs: Needs) -> Ready | None:
        """Return what was made ahead, if it suits a run with these needs. The caller closes it."""
        if not self._suits(needs):
            return None
        ready, self._ready = self._ready, None
        return ready

    async def prepare(self, needs: Needs) -> None:
        """Make a sandbox for the next run, unless there is one that suits. A failure only costs time.

        Only at the level ``namespaces``: at ``landlock``, the end of a run kills every process of the slot's user.
        """
        if not self._seconds or self.box.level != "namespaces" or self._preparing or self._suits(needs):
            return
        self._preparing = True
        try:
            await self.aclose()
            await self._make(needs)
        except (OSError, ProgramGoneError) as error:
            _log.warning("no sandbox could be made ahead: %s", error)
        finally:
            self._preparing = False

    def _suits(self, needs: Needs) -> bool:
        return self._ready is not None and self._ready.needs == needs and self._ready.usable

    async def tidy(self) -> None:
        """Remove what was made ahead if it cannot be used any more."""
        if self._ready and not self._ready.usable:
            await self.aclose()

    async def aclose(self) -> None:
        """Remove what was made ahead."""
        ready, self._ready = self._ready, None
        if ready:
            await ready.stack.aclose()

    async def _make(self, needs: Needs) -> None:
        async with AsyncExitStack() as stack:
            folder = await stack.enter_async_context(self._scratch.folder(self.box))
            workspace = Workspace(folder, needs.crate)
            await in_thread(_lay, workspace, self.box, needs.seed)
            waiting = await stack.enter_async_context(parked(self.box, folder.path, needs.readable))
            self._ready = Ready(needs, workspace, waiting, stack.pop_all(), time.monotonic() + self._seconds)


def _lay(workspace: Workspace, box: Box, seed: Seed) -> None:
    workspace.lay({}, seed)
    box.own(workspace.folder.path)
