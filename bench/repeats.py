"""Measure what a run costs whose answer is known, and when any run begins beside many that have ended."""

import http.client
import statistics
from collections.abc import Callable
from pathlib import Path

from bench.common import Case, cases, ours, serving
from bench.processes import settled

MOST_MS = 5.0
_MANY = 1000
"""Finished runs, about as many as a server keeps."""


def repeats(folder: Path, rounds: int) -> None:
    """Measure and print: the lessons' solutions as they are, each after it has run once."""
    print(f"\n{'known answer, median ms':34}{'ours':>8}{'first':>8}   processor time of a run, ms; goal {MOST_MS:g}")
    variables = {"PLAYGROUND_KEEP_ANSWERS": "1", "PLAYGROUND_ADDRESS_RUNS": "100000/minute"}
    with serving(folder, variables=variables) as (server, pid):
        for case in cases():
            run = _repeated(server, case)
            run()
            before = settled(pid)
            found = [run() for _ in range(rounds)]
            cost = settled(pid).since(before, rounds)
            cells = "".join(f"{1000 * statistics.median(each):8.1f}" for each in zip(*found, strict=True))
            print(f"{case.name:34}{cells}   {cost.line()}", flush=True)
        case = cases()[1]
        run = _repeated(server, case)
        for _ in range(_MANY):
            run()
        first = statistics.median(ours(server, case, case.source())[1] for _ in range(rounds))
        print(f"first event of {case.name} with {_MANY:,} finished runs: {1000 * first:.1f} ms; goal {MOST_MS:g}")


def _repeated(server: http.client.HTTPConnection, case: Case) -> Callable[[], tuple[float, float]]:
    def run() -> tuple[float, float]:
        server.close()
        server.connect()
        return ours(server, case, case.lesson.solution["src/main.rs"])

    return run
