"""Reads what a stranger's run built in a process of its own, with limits of its own.

A file can be made so that reading it takes for ever or all memory. The worker process is ended then and the
server goes on; the artefact is reported as of an unknown format.
"""

import importlib
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_process

from app.binary import BinaryFacts, Card

SECONDS = 2.0
"""The processor time that one file may take."""

_WAIT = 30.0
"""The longest that anybody waits for it, also on a busy machine and when a worker has to be started first."""

_PART_SECONDS = 0.2
"""No part of a card is begun after so much processor time, so that it comes in time with what was read."""
_MEMORY = 512 * 1024 * 1024
_DATA = 160 * 1024 * 1024
"""What a worker may have of its own: with the libraries, which lie in memory once for all workers, less than 200 MB."""
UNKNOWN = BinaryFacts("unknown", "", None, None, (), None, ())
PARTS = ("sections", "symbols", "code")
"""What a card leaves out when nothing but the facts can be said."""
_T = TypeVar("_T")


async def facts_of(file: Path) -> BinaryFacts:
    """The facts of one file; ``UNKNOWN`` for what is no binary, is damaged, or takes too long or too much."""
    try:
        return await _read(_inspect, file) or UNKNOWN
    except TimeoutError:
        return UNKNOWN


async def card_of(file: Path, places: anyio.CapacityLimiter | None = None) -> Card:
    """The card of one file, partial rather than late; of ``UNKNOWN`` facts for what cannot be read.

    ``places`` limits how many are read at once. Raises ``TimeoutError`` when the machine is too busy to read it.
    """
    return await _read(_examine, file, places) or Card(UNKNOWN, file.stat().st_size, unread=PARTS)


async def warm() -> None:
    """Start the workers, one for each processor, now rather than in a learner's first run."""
    async with anyio.create_task_group() as group:
        for _ in range(os.cpu_count() or 1):
            group.start_soon(partial(anyio.to_process.run_sync, _import, cancellable=True))


async def _read(read: Callable[[str], _T], file: Path, places: anyio.CapacityLimiter | None = None) -> _T | None:
    try:
        with anyio.fail_after(_WAIT):
            return await anyio.to_process.run_sync(read, str(file), cancellable=True, limiter=places)
    except TimeoutError:
        raise
    except Exception:
        # Whatever the readers' libraries say of a file that somebody made to hurt them, or the end of the worker.
        return None


def _import() -> None:
    """Load the readers and their libraries, which takes most of a second."""
    importlib.import_module("app.binary.reading")


def _inspect(path: str) -> BinaryFacts:
    from app.binary.reading import inspect  # noqa: PLC0415  (the readers' libraries are for the workers alone)

    with _limited(), open(path, "rb") as file:
        return inspect(file)


def _examine(path: str) -> Card:
    from app.binary.reading import examine  # noqa: PLC0415

    late = time.process_time() + _PART_SECONDS
    with _limited(), open(path, "rb") as file:
        return examine(file, lambda: time.process_time() > late)


@contextmanager
def _limited() -> Iterator[None]:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_DATA, (_DATA, _DATA))
    # The signal ends the worker, wherever it is. Of processor time, for others may be using the processors.
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
