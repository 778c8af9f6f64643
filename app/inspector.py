"""Reads what a stranger's run built in a process of its own, with limits of its own.

A file can be made so that reading it takes for ever or all memory. The worker process is ended then and the
server goes on; the artefact is reported as of an unknown format.
"""

import os
import resource
import signal
from pathlib import Path

import anyio
import anyio.to_process

from app.binary import BinaryFacts, NotABinaryError

SECONDS = 2.0
"""The processor time that one file may take."""

_WAIT = 10.0
"""The longest that anybody waits for it, also on a busy machine and when a worker has to be started first."""

_MEMORY = 512 * 1024 * 1024
UNKNOWN = BinaryFacts("unknown", "", None, None, (), None, ())


async def facts_of(file: Path) -> BinaryFacts:
    """The facts of one file; ``UNKNOWN`` for what is no binary, is damaged, or takes too long or too much."""
    try:
        with anyio.fail_after(_WAIT):
            return await anyio.to_process.run_sync(_inspect, str(file), cancellable=True)
    except (NotABinaryError, TimeoutError, MemoryError, OSError, RecursionError, anyio.BrokenWorkerProcess):
        return UNKNOWN


async def warm() -> None:
    """Start the workers, one for each processor, now rather than in a learner's first run."""
    async with anyio.create_task_group() as group:
        for _ in range(os.cpu_count() or 1):
            group.start_soon(facts_of, Path("/dev/null"))


def _inspect(path: str) -> BinaryFacts:
    from app.binary.reading import inspect  # noqa: PLC0415  (the readers' libraries are for the workers alone)

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    # The signal ends the worker, wherever it is. Of processor time, for others may be using the processors.
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with open(path, "rb") as file:
            return inspect(file)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
