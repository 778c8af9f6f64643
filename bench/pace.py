"""The speed of this machine, which makes bounds in seconds comparable across machines."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter, thread_time

REFERENCE_SECONDS = 0.050
"""The seconds that the loop below takes on the idle two-processor machine on which the bounds were measured."""


def pace(clock: Callable[[], float] = perf_counter) -> float:
    """Return how many times longer a fixed loop takes now than on the machine of the bounds; at least 1.

    A wall clock also counts the load of a busy machine; ``thread_time`` only counts how slow the machine is.
    """
    began = clock()
    _loop()
    return max(1.0, (clock() - began) / REFERENCE_SECONDS)


@dataclass
class Cost:
    """The processor time of some work, in seconds of the machine on which the bounds were measured."""

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
