"""Wait for what a test cannot be told of, instead of sleeping for as long as it usually takes."""

import time
from collections.abc import Callable
from typing import TypeVar

import anyio

from tests.support.environment import within

_PATIENCE = 10.0
_PAUSE = 0.02

Found = TypeVar("Found")


def eventually(check: Callable[[], Found], seconds: float = _PATIENCE) -> Found:
    """Return the first true value of ``check``, or its last value after so many seconds; longer on a busy machine."""
    began = time.monotonic()
    while not (found := check()) and within(seconds, began):
        time.sleep(_PAUSE)
    return found


async def eventually_async(check: Callable[[], Found], seconds: float = _PATIENCE) -> Found:
    """Do the same in an event loop, which goes on meanwhile."""
    began = time.monotonic()
    while not (found := check()) and within(seconds, began):  # noqa: ASYNC110 - nothing tells of it
        await anyio.sleep(_PAUSE)
    return found
