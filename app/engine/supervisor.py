"""Tasks of the engine that fail alone."""

import logging
from collections.abc import Callable, Coroutine

from anyio.abc import TaskGroup

_log = logging.getLogger(__name__)


class Supervisor:
    """A task group that logs an exception of a task instead of cancelling the other tasks."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks

    @property
    def ended(self) -> bool:
        """Return True once the group is cancelled."""
        return self._tasks.cancel_scope.cancel_called

    def start_soon(self, work: Callable[..., Coroutine[object, object, object]], *args: object) -> None:
        """Start a task."""
        self._tasks.start_soon(self._supervised, work, args)

    def end(self) -> None:
        """Cancel every task."""
        self._tasks.cancel_scope.cancel()

    @staticmethod
    async def _supervised(work: Callable[..., Coroutine[object, object, object]], args: tuple[object, ...]) -> None:
        try:
            await work(*args)
        except Exception:
            _log.exception("a task of the engine failed: %s", getattr(work, "__qualname__", work))
