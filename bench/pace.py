"""The speed of this machine, which makes bounds in seconds comparable across machines."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter, thread_time

REFERENCE_SECONDS = 0.050
"""The seconds of the loop below on the two idle processors where the bounds were measured."""


def pace(clock: Callable[[], float] = perf_counter) -> float:
    """Return how many times longer a fixed loop takes now than where the bounds were measured; at least 1.

    With the clock of the wall a busy machine is a slow one; with ``thread_time`` only a slow one is.
    """
    began = clock()
    _loop()
    return max(1.0, (clock() - began) / REFERENCE_SECONDS)


@dataclass
class Cost:
    """The processor time of some work, in seconds where the bounds were measured."""

    seconds: float = 0.0


@contextmanager
def processor_time() -> Iterator[Cost]:
    """Measure the processor time of this thread alone; the cost is known at the end of the block."""
    cost = Cost()
    before = pace(thread_time)
    began = thread_time()
    yield cost
    spent = thread_time() - began
    cost.seconds = spent / max(before, pace(thread_time))


def _loop() -> None:
    total = 0
    for number in range(600_000):
        total += number * number % 7
