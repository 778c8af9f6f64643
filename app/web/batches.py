"""Batch events, so that a flood of output updates a page a few times per second instead of once per event."""

import math
import time
from collections.abc import AsyncIterator
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
from app.web.ahead import ahead

_PAUSE_SECONDS = 0.05
"""The least time between two batches: long enough for the browser to draw, too short to be noticed."""
_MOST_EVENTS = 512
"""Events in one batch. A replay after a lost connection must not delay other readers."""
_MOST_CHARACTERS = 16 * 1024
"""Characters of output that close a batch, which server and browser each render in one go."""


async def batches(events: AsyncIterator[Event]) -> AsyncIterator[list[Event]]:
    """Yield every event in order: the first at once, and then in each batch the events since the previous one."""
    due = -math.inf
    async with ahead(events) as coming:
        while await coming.wait() and (event := coming.take()) is not None:
            batch = [event]
            length = terminal_length(event)
            while len(batch) < _MOST_EVENTS and length < _MOST_CHARACTERS:
                if not await coming.wait(max(0.0, due - time.monotonic())):
                    break
                if (event := coming.take()) is None:
                    break
                batch.append(event)
                length += terminal_length(event)
            yield batch
            due = time.monotonic() + _PAUSE_SECONDS


def terminal_length(event: Event) -> int:
    """Return the number of characters that the terminal shows of an event."""
    return len(terminal_text(event))


def terminal_text(event: Event) -> str:
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
