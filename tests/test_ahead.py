"""A stream that is asked ahead: how it ends when its reader goes."""

import asyncio
from collections.abc import AsyncIterator

import anyio
import pytest

from app.web.ahead import Ahead, ahead

pytestmark = pytest.mark.anyio


class DroppedError(Exception):
    """An exception that streams raise in these tests."""


async def failing() -> AsyncIterator[int]:
    yield 1
    raise DroppedError


async def test_what_a_stream_raised_does_not_reach_a_reader_that_has_gone() -> None:
    async with ahead(failing()) as coming:
        await coming.wait()
        assert coming.take() == 1
        await coming.wait()


async def test_what_a_stream_raised_reaches_its_reader() -> None:
    async with ahead(failing()) as coming:
        await coming.wait()
        assert coming.take() == 1
        await coming.wait()
        with pytest.raises(DroppedError):
            coming.take()


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_a_reader_that_is_cancelled_while_the_stream_ends_stays_cancelled(how: str) -> None:
    ending, may_end = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[int]:
        try:
            await asyncio.Event().wait()
            yield 1
        finally:
            ending.set()
            await may_end.wait()

    went_on: list[str] = []
    scope = anyio.CancelScope()

    async def read() -> None:
        with scope:
            coming = Ahead(slow())
            await coming.wait(0)
            await coming.aclose()
            await asyncio.sleep(0)
            went_on.append(how)

    reader = asyncio.ensure_future(read())
    await ending.wait()
    if how == "task":
        reader.cancel()
    else:
        scope.cancel()
    await asyncio.sleep(0)
    may_end.set()
    await asyncio.wait({reader})
    assert went_on == []
    assert reader.cancelled() == (how == "task")
