"""The price of workers elsewhere, interleaved with the engine of one machine: ``python -m bench.engine [ROUNDS]``.

Both servers are on this machine: one executes runs itself, two at a time; the other has a broker and two workers of one
slot each. Prints a run's median from the post to the verdict, the runs per second of 8 clients, the time of a
cancellation, and how long readers wait after each death.
"""

import http.client
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.engine.nats import words
from bench.common import Case, beside_runs, cases, ours, serving
from bench.throughput import client, looped
from tests.support.broker import WorkerProcess, nats_server
from tests.support.cluster import Cluster
from tests.support.crowd import ENDLESS

ROUNDS = 30
MOST_MS = 5.0
LEAST_SHARE = 0.95
MOST_CANCEL_MS = 50.0
_WARM_UP = 3
_CLIENTS, _SECONDS, _TURNS = 8, 5.0, 4
_CANCELLED = 40
_DEATHS = 3


@dataclass(frozen=True)
class Side:
    """One of the two servers."""

    name: str
    connection: http.client.HTTPConnection

    def run(self, case: Case) -> float:
        """Return the seconds of a run over a new connection."""
        self.connection.close()
        return ours(self.connection, case, case.source())[0]

    def rate(self, case: Case) -> float:
        """Return the runs per second of several clients."""
        host, port = self.connection.host, self.connection.port
        return looped([client(host, port, case) for _ in range(_CLIENTS)], _SECONDS)[0]

    def cancelled(self) -> float:
        """Return the seconds from the wish to cancel a program that prints until its verdict."""
        reader = Reader(f"http://{self.connection.host}:{self.connection.port}")
        reader.until("turn 2")
        return reader.cancel()


@contextmanager
def sides(folder: Path) -> Iterator[tuple[Side, Side]]:
    """Serve on both engines."""
    more = {"PLAYGROUND_MAX_RUNS": "2", "PLAYGROUND_QUEUE_LENGTH": "1000"}
    with ExitStack() as stack:
        broker = stack.enter_context(nats_server())
        scratch = stack.enter_context(beside_runs())
        for number in range(2):
            worker = WorkerProcess(broker.url, scratch / str(number), 1, False)
            stack.callback(worker.kill)
        local, _ = stack.enter_context(serving(folder / "local", variables=more))
        variables = more | {"PLAYGROUND_ENGINE": broker.url}
        elsewhere, _ = stack.enter_context(serving(folder / "elsewhere", variables=variables))
        yield Side("this process", local), Side("broker, two workers", elsewhere)


def engine(folder: Path, rounds: int) -> bool:
    """Measure and print everything; return True if no bound was exceeded."""
    folder.mkdir()
    folder.chmod(0o711)
    within = price(folder, rounds)
    recovery(folder / "recovery")
    return within


def price(folder: Path, rounds: int) -> bool:
    """Measure and print; return True if no bound was exceeded."""
    case = cases()[1]
    with sides(folder) as both:
        took: dict[str, list[float]] = {side.name: [] for side in both}
        for count in range(-_WARM_UP, rounds):
            for side in random.sample(both, 2):
                seconds = side.run(case)
                if count >= 0:
                    took[side.name].append(1000 * seconds)
        rates: dict[str, list[float]] = {side.name: [] for side in both}
        for _ in range(_TURNS):
            for side in random.sample(both, 2):
                rates[side.name].append(side.rate(case))
        ends: dict[str, list[float]] = {side.name: [] for side in both}
        for _ in range(_CANCELLED):
            for side in random.sample(both, 2):
                ends[side.name].append(1000 * side.cancelled())
    cancelled = printed_ends(ends)
    return printed(case, took, rates) and cancelled


def printed_ends(ends: dict[str, list[float]]) -> bool:
    """Print how long a cancellation takes on both sides; return True if it takes no longer elsewhere than allowed."""
    print(f"\n{'a cancellation':34}{'median ms':>10}{'95th':>8}")
    for name, values in ends.items():
        print(f"{name:34}{statistics.median(values):10.1f}{_late(values):8.1f}")
    late = _late([*ends.values()][1])
    print(f"bound: {late:.1f} ms of {MOST_CANCEL_MS:g} for 95 of 100", flush=True)
    return late <= MOST_CANCEL_MS


def _late(values: list[float]) -> float:
    """Return the 95th percentile."""
    return sorted(values)[-1 - len(values) // 20]


def printed(case: Case, took: dict[str, list[float]], rates: dict[str, list[float]]) -> bool:
    """Print both sides; return True if no bound was exceeded."""
    print(f"\n{'engine, ' + case.name:34}{'median ms':>10}{'90th':>8}{'runs/s':>8}")
    for name, values in took.items():
        tenth = sorted(values)[-1 - len(values) // 10]
        print(f"{name:34}{statistics.median(values):10.1f}{tenth:8.1f}{statistics.mean(rates[name]):8.1f}")
    (local, elsewhere), (here, there) = took.values(), rates.values()
    longer = statistics.median(there - here for here, there in zip(local, elsewhere, strict=True))
    share = statistics.mean(there) / statistics.mean(here)
    print(f"bounds: {longer:+.1f} ms of {MOST_MS:g}; {share:.2f} of the runs of {LEAST_SHARE:g}", flush=True)
    return longer <= MOST_MS and share >= LEAST_SHARE


class Reader:
    """Follows an endless run and returns how long it waits for the next event. It comes back when it is cut off."""

    def __init__(self, url: str) -> None:
        self._address = url.removeprefix("http://")
        answer = self._asked("POST", "/api/runs", {"lesson": "hello-std", "command": "cargo run"})
        self._run = json.load(answer)
        self.run_id = self._run["id"]
        self._last = 0
        self._lines = self._stream()

    def _asked(self, method: str, path: str, body: object = None, **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self._address, timeout=60)
        files = {"files": {"src/main.rs": ENDLESS}}
        text = json.dumps(body | files) if isinstance(body, dict) else None
        connection.request(method, path, text, {"content-type": "application/json", **headers})
        return connection.getresponse()

    def _stream(self) -> Iterator[dict[str, object]]:
        while True:
            try:
                answer = self._asked("GET", self._run["events"], **{"Last-Event-ID": str(self._last)})
                for line in answer:
                    if line.startswith(b"data: "):
                        event = json.loads(line[6:])
                        self._last = event["id"]
                        yield event
                        if event["type"] == "verdict":
                            return
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)

    def until(self, text: str) -> float:
        """Return the seconds until a line of output contains the text, or until the run's end."""
        began = time.perf_counter()
        for event in self._lines:
            if text in str(event.get("text", "")):
                break
        return time.perf_counter() - began

    def cancel(self) -> float:
        """End the run, and return the seconds until its last event."""
        began = time.perf_counter()
        self._asked("DELETE", f"/api/runs/{self.run_id}").read()
        self.until("\0")
        return time.perf_counter() - began


def recovery(folder: Path) -> None:
    """Measure and print how long a reader waits for the next output after each death."""
    took: dict[str, list[float]] = {}
    with Cluster(folder, workers=2) as cluster:
        until_ready(cluster)
        for _ in range(_DEATHS):
            for name, wait in (("worker killed", _worker), ("broker killed", _broker), ("web killed", _web)):
                took.setdefault(name, []).append(wait(cluster))
    print(f"\n{'seconds until a reader goes on':34}{'least':>8}{'median':>8}{'most':>8}")
    for name, values in took.items():
        print(f"{name:34}{min(values):8.2f}{statistics.median(values):8.2f}{max(values):8.2f}", flush=True)


def until_ready(cluster: Cluster) -> None:
    """Wait for the workers."""
    while True:
        connection = http.client.HTTPConnection(cluster.url.removeprefix("http://"), timeout=60)
        connection.request("GET", "/readyz")
        if connection.getresponse().status == http.HTTPStatus.OK:
            return
        time.sleep(0.1)


def _worker(cluster: Cluster) -> float:
    reader = Reader(cluster.url)
    reader.until("turn 2")
    number = cluster.holder(reader.run_id)
    cluster.workers[number].kill()
    took = reader.until(words.BEGUN_AGAIN)
    cluster.start_worker(number)
    reader.cancel()
    return took


def _broker(cluster: Cluster) -> float:
    reader = Reader(cluster.url)
    reader.until("turn 2")
    cluster.brokers[0].kill()
    began = time.perf_counter()
    cluster.brokers[0].start()
    reader.until("turn")
    took = time.perf_counter() - began
    reader.cancel()
    return took


def _web(cluster: Cluster) -> float:
    reader = Reader(cluster.url)
    reader.until("turn 2")
    cluster.kill_web()
    began = time.perf_counter()
    cluster.start_web()
    reader.until("turn")
    took = time.perf_counter() - began
    reader.cancel()
    return took


def main() -> None:
    """Measure both."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    print(f"{os.cpu_count()} processors, {rounds} rounds")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o711)
        within = engine(folder / "engine", rounds)
    sys.exit(0 if within else 1)


if __name__ == "__main__":
    main()
