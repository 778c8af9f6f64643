"""Batch events, so that a flood of output updates a page a few times per second instead of once per event."""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import assert_never

from app.protocol.events import (
    Artifact,
    Diagnostic,
    Edit,
    Event,
    Finished,
    Machine,
    Observed,
    Output,
    Queued,
    Screen,
    Started,
    Verdict,
)

_SECONDS = 0.05
"""The least time between two batches: long enough for the browser to draw, too short to be noticed."""
_MOST = 512
"""Events in one batch. A replay after a lost connection must not delay other readers."""
_LARGEST = 16 * 1024
"""Characters of output that close a batch, which server and browser each render in one go."""


async def batches(events: AsyncGenerator[Event] | AsyncIterator[Event]) -> AsyncIterator[list[Event]]:
    """Yield every event in order: the first at once, and then in each batch the events since the previous one."""
    clock = asyncio.get_running_loop().time
    due = -math.inf
    following = asyncio.ensure_future(_next(events))
    try:
        while (event := await following) is not None:
            batch = [event]
            following = asyncio.ensure_future(_next(events))
            text = size(event)
            while len(batch) < _MOST and text < _LARGEST:
                await asyncio.wait({following}, timeout=max(0.0, due - clock()))
                if not following.done() or (event := following.result()) is None:
                    break
                batch.append(event)
                text += size(event)
                following = asyncio.ensure_future(_next(events))
            yield batch
            due = clock() + _SECONDS
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        if isinstance(events, AsyncGenerator):
            await events.aclose()


def size(event: Event) -> int:
    """Return the number of characters that the terminal shows of an event."""
    return len(said(event))


def said(event: Event) -> str:
    """Return the text that the terminal shows of an event."""
    match event:
        case Output():
            return event.text
        case Diagnostic():
            return event.rendered
        case Queued() | Started() | Artifact() | Observed() | Screen() | Machine() | Edit() | Finished() | Verdict():
            return ""
        case _:
            assert_never(event)


async def _next(events: AsyncIterator[Event]) -> Event | None:
    return await anext(events, None)
