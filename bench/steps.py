"""Measure the wait for the stepper: the first view executes the program, each later one loads a page."""

import http.client
import json
import statistics
import time
from pathlib import Path

from bench.common import Case, built, cases, serving

ROUNDS = 15


def opened(server: http.client.HTTPConnection, case: Case) -> tuple[float, float, int]:
    """Return the milliseconds to the first step and then to the last one, and the number of steps."""
    run = built(server, case)
    first = _asked(server, f"/runs/{run}/step?at=0")
    server.request("GET", f"/api/runs/{run}/steps")
    count = len(json.load(server.getresponse())["steps"])
    return first, _asked(server, f"/runs/{run}/step?at={count - 1}"), count


def _asked(server: http.client.HTTPConnection, path: str) -> float:
    began = time.perf_counter()
    server.request("GET", path, headers={"hx-request": "true"})
    answer = server.getresponse()
    answer.read()
    assert answer.status == 200, answer.status
    return 1000 * (time.perf_counter() - began)


def steps(folder: Path) -> None:
    """Measure opening the stepper and one step, for each program that can be stepped through."""
    with serving(folder / "steps") as (server, _):
        print(f"\n{'stepper':34}{'steps':>6}{'opening ms':>12}{'slowest':>9}{'a step ms':>11}")
        for case in cases()[1:]:
            found = [opened(server, case) for _ in range(ROUNDS + 1)][1:]
            first, later = [one for one, _, _ in found], [one for _, one, _ in found]
            cells = f"{found[-1][2]:6}{statistics.median(first):12.1f}{max(first):9.1f}{statistics.median(later):11.1f}"
            print(f"{case.name:34}{cells}", flush=True)
