"""Events in batches: a page that is sent a flood swaps a few times a second, not once for each piece."""

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
"""The least time between two batches; long enough for the browser to draw, too short to be noticed."""
_MOST = 512
"""Events in one batch: what a reader is sent after a lost connection must not keep others waiting."""
_LARGEST = 16 * 1024
"""Characters of output at which a batch is closed: so much is rendered, and drawn by the browser, at once."""


async def batches(events: AsyncGenerator[Event] | AsyncIterator[Event]) -> AsyncIterator[list[Event]]:
    """Every event, in order: the first at once, and then in a batch whatever has come since the batch before."""
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
    """Characters of an event that are to be drawn."""
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
