"""The environment variables that adapt the tests to a machine, and bounds of time that fit a busy one."""

import os
import time

from bench.pace import pace

BARE_METAL = "thumbv7em-none-eabihf"

SLOWER_BY = int(os.environ.get("SLOWER_BY", "1"))
"""Factor for time limits on slow machines, such as the emulated one of ``tools/virtual-debian``."""

EVERYTHING = bool(os.environ.get("TEST_ALL"))
"""True for `make test-all`, which runs every combination."""


def within(seconds: float, began: float) -> bool:
    """Return True if less than ``seconds`` have passed since ``began`` (of ``time.monotonic``).

    On a machine that is slow, or busy now, they are as many times longer as a loop takes longer than usual.
    """
    passed = time.monotonic() - began
    return passed < seconds * SLOWER_BY or passed < seconds * pace()
