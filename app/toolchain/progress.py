"""Long work stays visible: what it is doing now, and a sign of life while it says nothing itself."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

Say = Callable[[str], None]
"""Takes one line for the user, without a line end."""

_BEAT_SECONDS = 1.0
_SPARSE_SECONDS = 3.0


class Passing(str):
    """A progress line. The next line replaces it on a terminal; elsewhere ``sparse`` drops most of them."""

    __slots__ = ()


class ProgressLines:
    """The lines of one piece of work, indented below its announcement."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._began = time.monotonic()
        self._doing = "working"

    def step(self, doing: str) -> None:
        """Say that a new step began."""
        if doing != self._doing:
            self._doing = doing
            self._say(Passing(f"  {doing}"))

    def beat(self) -> None:
        """Say that the step goes on, and for how long the work has gone on."""
        self._say(Passing(f"  {self._doing}, {time.monotonic() - self._began:.0f} s"))


def sparse(say: Say) -> Say:
    """Return a ``Say`` that passes at most one progress line in three seconds on, and every other line."""
    last = -_SPARSE_SECONDS

    def passed_on(line: str) -> None:
        nonlocal last
        now = time.monotonic()
        if isinstance(line, Passing):
            if now - last < _SPARSE_SECONDS:
                return
            last = now
        say(line)

    return passed_on


@asynccontextmanager
async def progress(say: Say) -> AsyncIterator[ProgressLines]:
    """A ``ProgressLines`` that shows signs of life by itself for as long as the block runs."""
    try:
        async with _beating(say) as shown:
            yield shown
    except BaseExceptionGroup as group:
        # A task group wraps what the block raised; the caller means the one thing inside.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


@asynccontextmanager
async def _beating(say: Say) -> AsyncIterator[ProgressLines]:
    shown = ProgressLines(say)

    async def beats() -> None:
        while True:
            await anyio.sleep(_BEAT_SECONDS)
            shown.beat()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beats)
        try:
            yield shown
        finally:
            tasks.cancel_scope.cancel()
