"""Threads for work on the files of runs, apart from the pool that requests share.

A run can make this work slow, and requests can fill the shared pool while they wait for a disk.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import anyio
from anyio.lowlevel import RunVar

from app.runfiles import removal

_Ts = TypeVarTuple("_Ts")
_T = TypeVar("_T")
_AT_ONCE, _REMOVALS = 16, 2
_work: RunVar[anyio.CapacityLimiter] = RunVar("work on files of runs")
_looks: RunVar[anyio.CapacityLimiter] = RunVar("looks at runs")
_removals: RunVar[anyio.CapacityLimiter] = RunVar("removals of large folders")


async def in_thread(work: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
    """Write, collect or remove files of a run in a thread."""
    return await anyio.to_thread.run_sync(work, *args, limiter=_limiter(_work, _AT_ONCE))


async def look(work: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
    """Measure a run in a thread without waiting for other work. The watcher starts one at a time for each run."""
    return await anyio.to_thread.run_sync(work, *args, limiter=_limiter(_looks, math.inf))


async def removed(path: Path) -> bool:
    """Delete a folder, a large one in a separate process. Return True if it is gone. Never raises."""
    if await in_thread(removal.remove, path):
        return True
    return await anyio.to_thread.run_sync(removal.remove_apart, path, limiter=_limiter(_removals, _REMOVALS))


def _limiter(variable: RunVar[anyio.CapacityLimiter], most: float) -> anyio.CapacityLimiter:
    # A limiter belongs to one event loop.
    try:
        return variable.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(most)
        variable.set(limiter)
        return limiter
