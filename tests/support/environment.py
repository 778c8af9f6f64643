"""The environment variables that adapt the tests to a machine, and bounds of time that fit a busy one."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.pace import pace

BARE_METAL = "thumbv7em-none-eabihf"

SLOWER_BY = int(os.environ.get("SLOWER_BY", "1"))
"""Factor for time limits on slow machines, such as the emulated one of ``tools/virtual-debian``."""

EVERYTHING = bool(os.environ.get("TEST_ALL"))
"""True for `make test-all`, which runs every combination."""


def within(seconds: float, began: float, slowness: float = 1.0) -> bool:
    """Return True if less than ``seconds`` have passed since ``began`` (of ``time.monotonic``).

    On a machine that is slow, or busy now, they are as many times longer as a loop takes longer than usual. A test with
    a tight bound passes as ``slowness`` the ``pace()`` from before, because the machine may be less busy by now.
    """
    passed = time.monotonic() - began
    return passed < seconds * max(SLOWER_BY, slowness) or passed < seconds * pace()


def seconds_since(began: float, few: float = 1.0) -> float:
    """Return the seconds since ``began``; unless they are few, divided by how much slower than usual the machine is."""
    passed = time.monotonic() - began
    return passed if passed < few else passed / pace()


@contextmanager
def takes_less_than(seconds: float) -> Iterator[None]:
    """Fail if the block takes this thread more processor time. On a slow or busy machine it may take more."""
    began = time.thread_time()
    yield
    spent = time.thread_time() - began
    assert spent < seconds or spent < seconds * pace(time.thread_time), f"it took {spent:.2f} s of processor time"
