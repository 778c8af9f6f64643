"""Progress lines for long work: the current step, and the time that passes while it prints nothing."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

Say = Callable[[str], None]
"""Shows one line, without a line end, to the user."""

_BEAT_SECONDS = 1.0
_SPARSE_SECONDS = 3.0


class TransientLine(str):
    """A progress line. On a terminal, the next line replaces it; elsewhere, ``sparse`` drops most of these lines."""

    __slots__ = ()


class ProgressLines:
    """Prints the progress lines of one piece of work, indented below its announcement."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._began = time.monotonic()
        self._doing = "working"

    def step(self, doing: str) -> None:
        """Announce a new step."""
        if doing != self._doing:
            self._doing = doing
            self._say(TransientLine(f"  {doing}"))

    def beat(self) -> None:
        """Print the current step with the time since the work began."""
        self._say(TransientLine(f"  {self._doing}, {time.monotonic() - self._began:.0f} s"))


def sparse(say: Say) -> Say:
    """Return a ``Say`` that passes on at most one progress line in three seconds, and all other lines."""
    last = -_SPARSE_SECONDS

    def passed_on(line: str) -> None:
        nonlocal last
        now = time.monotonic()
        if isinstance(line, TransientLine):
            if now - last < _SPARSE_SECONDS:
                return
            last = now
        say(line)

    return passed_on


@asynccontextmanager
async def progress(say: Say) -> AsyncIterator[ProgressLines]:
    """Yield a ``ProgressLines`` that prints the elapsed time every second while the block runs."""
    shown = ProgressLines(say)

    async def beats() -> None:
        while True:
            await anyio.sleep(_BEAT_SECONDS)
            shown.beat()

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(beats)
            try:
                yield shown
            finally:
                tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # The task group wraps an exception of the block. The caller expects the exception itself.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
