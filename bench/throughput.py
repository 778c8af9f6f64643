"""Measure how many runs end in a second: clients in a closed loop, and raw cargo in as many projects as processors."""

import http.client
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.common import Case, ours, serving
from bench.processes import settled
from bench.raw import Raw

SECONDS = 10.0
CLIENTS = (1, 8, 32)
GOAL = 0.7
"""The least share of raw cargo's runs with eight and more clients."""


def throughput(folder: Path, case: Case, seconds: float = SECONDS) -> None:
    """Measure and print."""
    folder.mkdir()
    folder.chmod(0o711)
    projects = [Raw(case, folder / f"raw-{number}") for number in range(os.cpu_count() or 1)]
    for one in projects:
        one.run(case.source())
    print(
        f"\n{'closed loop, ' + case.name:34}{'runs/s':>8}{'of raw':>8}{'generator':>11}   processor time of a run, ms"
    )
    with serving(folder / "server", variables={"PLAYGROUND_QUEUE_LENGTH": "1000"}) as (server, pid):
        for clients in CLIENTS:
            # The raw runs come right before, because the machine may be faster or slower later.
            raw, _ = looped([_build(each, case) for each in projects], seconds)
            before = settled(pid)
            own = time.process_time()
            rate, count = looped([client(server.host, server.port, case) for _ in range(clients)], seconds)
            own = time.process_time() - own
            cost = settled(pid).since(before, count)
            name = f"{clients} client{'' if clients == 1 else 's'}"
            goal = f", goal {GOAL:g}" if clients > 1 else ""
            print(
                f"{name:34}{rate:8.1f}{rate / raw:8.2f}{100 * own / seconds:9.0f} %   {cost.line()}{goal}", flush=True
            )


def _build(raw: Raw, case: Case) -> Callable[[], object]:
    return lambda: raw.run(case.source())


def client(host: str, port: int | None, case: Case) -> Callable[[], object]:
    """Return a client's work: one run over its own connection."""
    connection = http.client.HTTPConnection(host, port, timeout=120)

    def run() -> None:
        ours(connection, case, case.source())

    return run


def looped(works: Sequence[Callable[[], object]], seconds: float) -> tuple[float, int]:
    """Call each of the works again and again in a thread of its own; return the calls per second, and their number."""
    counts = [0] * len(works)
    began = time.perf_counter()

    def loop(number: int, work: Callable[[], object]) -> None:
        while time.perf_counter() - began < seconds:
            work()
            counts[number] += 1

    threads = [threading.Thread(target=loop, args=each) for each in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began), sum(counts)
