"""Server-sent events: framing, and a response that ends quietly when its reader has gone.

FastAPI's own streams log an error for each reader that leaves while a message is under way, which a hostile
reader can repeat at will, and cost three more tasks each.
"""

import re
from collections.abc import AsyncIterator

import anyio.lowlevel
from fastapi.responses import StreamingResponse

_LINE_END = re.compile(r"\r\n|\r|\n")
"""What ends a line for a reader of a stream; other separators, such as U+2028, are text."""


def frame(data: str, number: int | None = None, event: str | None = None) -> bytes:
    """One message. Every line of the data says that it is data, so none can be taken for a field or an end."""
    fields = [f"event: {event}"] if event else []
    fields += [f"data: {line}" for line in _LINE_END.split(data)]
    if number is not None:
        fields.append(f"id: {number}")
    return ("\n".join(fields) + "\n\n").encode()


class EventStream(StreamingResponse):
    """The frames as they come; proxies are told not to hold them back."""

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncIterator[bytes]) -> None:
        super().__init__(_fairly(frames), headers={"x-accel-buffering": "no"})


async def _fairly(frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A long log that is all there must neither keep others waiting nor be sent to a reader that has gone."""
    async for each in frames:
        yield each
        await anyio.lowlevel.checkpoint()
