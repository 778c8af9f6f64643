"""Long work stays visible: what it is doing now, and a sign of life while it says nothing itself."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

Say = Callable[[str], None]
"""Takes one line for the user, without a line end."""

_EVERY_SECONDS = 5.0
_APART_SECONDS = 1.0


class Progress:
    """The lines of one piece of work, indented below its announcement."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._began = time.monotonic()
        self._last = self._began - _APART_SECONDS
        self.doing = "working"

    def step(self, doing: str) -> None:
        """Say that a new step began; of steps that follow fast on each other, only the first is said at once."""
        if doing != self.doing:
            self.doing = doing
            if time.monotonic() - self._last >= _APART_SECONDS:
                self._line(doing)

    def beat(self) -> None:
        """Say that the step goes on, when nothing was said for a while."""
        if time.monotonic() - self._last >= _EVERY_SECONDS:
            self._line(f"{self.doing}, {time.monotonic() - self._began:.0f} s")

    def _line(self, text: str) -> None:
        self._last = time.monotonic()
        self._say(f"  {text}")


@asynccontextmanager
async def progress(say: Say) -> AsyncIterator[Progress]:
    """A ``Progress`` that shows signs of life by itself for as long as the block runs."""
    try:
        async with _beating(say) as shown:
            yield shown
    except BaseExceptionGroup as group:
        # A task group wraps what the block raised; the caller means the one thing inside.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


@asynccontextmanager
async def _beating(say: Say) -> AsyncIterator[Progress]:
    shown = Progress(say)

    async def beats() -> None:
        while True:
            await anyio.sleep(_EVERY_SECONDS / 5)
            shown.beat()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beats)
        try:
            yield shown
        finally:
            tasks.cancel_scope.cancel()
