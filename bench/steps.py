"""How long a learner waits for the steps of a program: the first look executes it, each later one is a page."""

import http.client
import json
import statistics
import time
from pathlib import Path

from bench.common import Case, built, cases, serving

ROUNDS = 15


def opened(server: http.client.HTTPConnection, case: Case) -> tuple[float, float, int]:
    """Milliseconds to the first step with the list made, and to the last one afterwards; how many steps there are."""
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
    """Of each program that can be stepped through: opening the stepper, and a step in it."""
    with serving(folder / "steps") as (server, _):
        print(f"\n{'stepper':34}{'steps':>6}{'opening ms':>12}{'slowest':>9}{'a step ms':>11}")
        for case in cases()[1:]:
            found = [opened(server, case) for _ in range(ROUNDS + 1)][1:]
            first, later = [one for one, _, _ in found], [one for _, one, _ in found]
            cells = f"{found[-1][2]:6}{statistics.median(first):12.1f}{max(first):9.1f}{statistics.median(later):11.1f}"
            print(f"{case.name:34}{cells}", flush=True)
