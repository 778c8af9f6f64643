"""Batches of events for the stream."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.protocol.events import Event, Output
from app.web.batches import batches

pytestmark = pytest.mark.anyio


def line(number: int) -> Event:
    return Output(id=number, stream="stdout", text=f"{number}\n")


async def test_a_flood_becomes_a_few_batches_and_nothing_is_lost() -> None:
    async def flood() -> AsyncIterator[Event]:
        for number in range(1, 1001):
            yield line(number)

    sizes: list[int] = []
    ids: list[int] = []
    async for batch in batches(flood()):
        sizes.append(len(batch))
        ids += [event.id for event in batch]
    assert ids == list(range(1, 1001))
    assert len(sizes) <= 20


async def test_the_first_event_does_not_wait_for_a_second() -> None:
    async def slow() -> AsyncIterator[Event]:
        yield line(1)
        await asyncio.sleep(5)
        yield line(2)

    source = batches(slow())
    assert [event.id for event in await asyncio.wait_for(anext(source), 4)] == [1]
    await source.aclose()  # type: ignore[attr-defined]  # it is a generator


async def test_a_reader_that_stops_closes_the_source() -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[Event]:
        try:
            while True:
                yield line(1)
                await asyncio.sleep(0.01)
        finally:
            ended.set()

    source = batches(endless())
    await anext(source)
    await source.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert ended.is_set()
