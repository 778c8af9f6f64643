"""Request a stream's next item in advance, and do something else while none comes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import anyio

T = TypeVar("T")


class Ahead(Generic[T]):
    """A stream that requests its next item in advance."""

    def __init__(self, stream: AsyncIterator[T]) -> None:
        self._stream = stream
        self._coming = asyncio.ensure_future(self._next())

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for the next item, at most for this long; return True if there is something to take."""
        await asyncio.wait({self._coming}, timeout=seconds)
        return self._coming.done()

    def take(self) -> T | None:
        """Return the item that has come, None at the end. Raises what the stream raised."""
        item = self._coming.result()
        if item is not None:
            self._coming = asyncio.ensure_future(self._next())
        return item

    async def aclose(self) -> None:
        """Ask no more, and close the stream."""
        self._coming.cancel()
        # Shielded, because a generator cannot be closed while it is asked for an item.
        with anyio.CancelScope(shield=True):
            await asyncio.wait({self._coming})
        if not self._coming.cancelled():
            self._coming.exception()  # asyncio would log an exception that is not retrieved
        if isinstance(self._stream, AsyncGenerator):
            await self._stream.aclose()

    async def _next(self) -> T | None:
        return await anext(self._stream, None)


@asynccontextmanager
async def ahead(stream: AsyncIterator[T]) -> AsyncIterator[Ahead[T]]:
    """Yield the stream as ``Ahead``, and close it at the end."""
    asked = Ahead(stream)
    try:
        yield asked
    finally:
        await asked.aclose()
