"""Measure the wait for the card of a binary that is new to the server."""

import http.client
import json
import statistics
import time
from pathlib import Path

from bench.common import Case, built, cases, serving

ROUNDS = 15
GOALS = {"bare-metal": 20.0, "hello-std": 300.0}
"""The limit in milliseconds for the card of a lesson's binary."""


def first_look(server: http.client.HTTPConnection, case: Case) -> tuple[float, int]:
    """Return the milliseconds until the card arrives, and the size of the binary in bytes."""
    run = built(server, case)
    began = time.perf_counter()
    server.request("GET", f"/runs/{run}/artifact", headers={"hx-request": "true"})
    answer = server.getresponse()
    answer.read()
    took = 1000 * (time.perf_counter() - began)
    assert answer.status == 200, answer.status
    server.request("GET", f"/api/runs/{run}/artifact")
    card = json.load(server.getresponse())
    assert not card["unread"], card["unread"]
    return took, int(card["bytes"])


def cards(folder: Path) -> None:
    """Measure the first card of each binary against its limit."""
    with serving(folder / "cards") as (server, _):
        print(f"\n{'card, first look':34}{'bytes':>12}{'median ms':>11}{'slowest':>9}{'goal':>7}")
        for case in cases():
            goal = GOALS.get(case.lesson.slug)
            if goal is None:
                continue
            # The first card of a profile also builds the std program for the comparison.
            found = [first_look(server, case) for _ in range(ROUNDS + 3)][3:]
            took = [one for one, _ in found]
            cells = f"{found[-1][1]:12,}{statistics.median(took):11.1f}{max(took):9.1f}{goal:7.0f}"
            print(f"{case.name:34}{cells}", flush=True)
