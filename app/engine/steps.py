"""Traces of the programs that runs have built: made on demand, one at a time. The latest are kept."""

from collections import OrderedDict
from pathlib import Path

import anyio

from app import stepper
from app.engine.owner_lock import PerOwnerLock
from app.engine.scratch import Scratch
from app.runfiles import RunFolder, in_thread
from app.sandbox import Box
from app.stepper import NotSteppedError, Trace

_KEPT = 16


class Steps:
    """Makes traces in a box of its own and keeps the last ``_KEPT``, refusals included."""

    def __init__(self, scratch: Scratch, box: Box) -> None:
        self._scratch = scratch
        self._box = box
        self._owner_lock = PerOwnerLock()
        self._lock = anyio.Lock()
        self._known: OrderedDict[str, Trace | NotSteppedError] = OrderedDict()

    async def of(self, run_id: str, program: Path, lock_owner: str) -> Trace:
        """Return the trace of a run's program. Requests of one ``lock_owner`` wait for each other.

        Raises ``NotSteppedError``, ``OSError``.
        """
        async with self._owner_lock.of(lock_owner), self._lock:
            if run_id not in self._known:
                self._known[run_id] = await self._trace(program)
            self._known.move_to_end(run_id)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
            found = self._known[run_id]
        if isinstance(found, NotSteppedError):
            raise found
        return found

    def drop(self, run_id: str) -> None:
        """Drop the run's trace."""
        self._known.pop(run_id, None)

    async def _trace(self, program: Path) -> Trace | NotSteppedError:
        try:
            async with self._scratch.folder(self._box) as folder:
                await in_thread(_lay, folder, program)
                return await stepper.trace(self._box, folder.path)
        except NotSteppedError as error:
            return error


def _lay(folder: RunFolder, program: Path) -> None:
    folder.make()
    folder.copy_in(stepper.PROGRAM, program)
