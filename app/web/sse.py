"""Send server-sent events: framing, and a response that ends quietly when its reader has gone.

FastAPI's own streams log an error for each reader that leaves during a message, which a hostile reader can repeat at
will, and each needs three more tasks.
"""

import re
from collections.abc import AsyncIterator

import anyio.lowlevel
from fastapi.responses import StreamingResponse

_LINE_END = re.compile(r"\r\n|\r|\n")
"""The line ends of an event stream; other separators, such as U+2028, are text."""


def frame(data: str, number: int | None = None, event: str | None = None) -> bytes:
    """Return one message. Each line of the data is marked as data, so none can be taken for a field or for the end."""
    fields = [f"event: {event}"] if event else []
    fields += [f"data: {line}" for line in _LINE_END.split(data)]
    if number is not None:
        fields.append(f"id: {number}")
    return ("\n".join(fields) + "\n\n").encode()


class EventStream(StreamingResponse):
    """A response that sends frames as they come; a header tells proxies not to buffer them."""

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncIterator[bytes]) -> None:
        super().__init__(_fairly(frames), headers={"x-accel-buffering": "no"})


async def _fairly(frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield to other tasks after each frame. A long log must not delay them, and a cancelled stream must end."""
    async for each in frames:
        yield each
        await anyio.lowlevel.checkpoint()
