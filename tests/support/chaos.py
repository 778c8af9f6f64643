"""Every part of a cluster dies under load, one after the other; then everything that was promised is checked."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx

from app.course import Lesson
from app.engine import EngineUnavailableError
from app.engine.nats import subjects, words
from app.engine.nats.broker import Broker
from app.protocol.events import from_json
from tests.support.cluster import Cluster
from tests.support.crowd import Crowd, Ran, kinds

PAST_LEASE = subjects.ACK_SECONDS + 2
"""Seconds after which a silent worker has lost its runs."""
_PIECE = b"\0" * (2 * 1024 * 1024)
_JUNK = f"built.{'0' * 32}"

Act = Callable[[Cluster], object]


@dataclass
class Report:
    """The runs of a crowd, and the promises that were broken."""

    acts: Counter[str] = field(default_factory=Counter)
    runs: Sequence[Ran] = ()
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def begun_again(self) -> int:
        """The number of runs that say that their worker was lost."""
        return sum(any(words.BEGUN_AGAIN in event.get("text", "") for event in ran.events) for ran in self.runs)

    def lines(self) -> Iterator[str]:
        """Yield the report as it is printed."""
        for (kind, how), count in sorted(Counter((ran.kind.name, ran.how) for ran in self.runs).items()):
            yield f"{count:6}  {kind}: {how}"
        yield f"deaths: {', '.join(f'{count} x {name}' for name, count in self.acts.items())}"
        yield f"begun again: {self.begun_again}; posts refused: {dict(self.refused)}"
        yield from (f"WRONG: {line}" for line in self.wrong)
        result = f"{len(self.wrong)} promises were broken" if self.wrong else "nothing was lost"
        yield f"{result}: {len(self.runs)} runs, {self.acts.total()} deaths"


@contextmanager
def _for(seconds: float, undo: Callable[[], object]) -> Iterator[None]:
    """Undo after so many seconds what the block does."""
    yield
    time.sleep(seconds)
    undo()


def cut_web(cluster: Cluster, seconds: float = 2) -> None:
    """Cut the connection between web and broker."""
    with _for(seconds, cluster.web_wire.heal):
        cluster.web_wire.refuse()


def stall_web(cluster: Cluster, seconds: float = 8) -> None:
    """Let the connection between web and broker carry nothing, so that only a missing answer shows it."""
    with _for(seconds, cluster.web_wire.heal):
        cluster.web_wire.stall()


def cut_worker(cluster: Cluster, seconds: float = PAST_LEASE) -> None:
    """Cut the connection between a worker and the broker."""
    with _for(seconds, cluster.worker_wires[0].heal):
        cluster.worker_wires[0].refuse()


def stall_worker(cluster: Cluster, seconds: float = PAST_LEASE) -> None:
    """Let the connection between a worker and the broker carry nothing."""
    with _for(seconds, cluster.worker_wires[-1].heal):
        cluster.worker_wires[-1].stall()


def fill_store(cluster: Cluster, seconds: float = 3) -> None:
    """Fill the broker's store until it refuses messages, and then make room."""
    anyio.run(_fill, cluster.brokers[0].url, seconds)


async def _fill(url: str, seconds: float) -> None:
    broker = await Broker(url).connect(5)
    try:
        with suppress(EngineUnavailableError):
            number = 0
            while True:
                await broker.publish(f"{_JUNK}.0.{number}", _PIECE, seconds=0)
                number += 1
        assert broker.refusal
        await anyio.sleep(seconds)
        await broker.purge(subjects.BUILT, f"{_JUNK}.>")
    finally:
        await broker.close()


def kill_worker(cluster: Cluster) -> None:
    """Kill a worker."""
    cluster.kill_worker(0)


def stop_worker(cluster: Cluster) -> None:
    """Stop a worker past its lease, and let it go on."""
    cluster.stop_worker(len(cluster.workers) - 1, PAST_LEASE)


def kill_broker(cluster: Cluster, down: float = 0.5) -> None:
    """Kill the broker; of several, another one each time."""
    cluster.kill_broker(len(cluster.brokers) - 1, down)
    cluster.brokers.insert(0, cluster.brokers.pop())


def kill_web(cluster: Cluster) -> None:
    """Kill the web."""
    cluster.kill_web()
    cluster.start_web()


def upgrade_workers(cluster: Cluster) -> None:
    """Replace each worker by a new one under load."""
    for number in range(len(cluster.workers)):
        cluster.upgrade_worker(number)


ACTS: Mapping[str, Act] = {
    "worker killed": kill_worker,
    "broker killed": kill_broker,
    "web killed": kill_web,
    "worker stopped past its lease": stop_worker,
    "web cut off": cut_web,
    "worker cut off": cut_worker,
    "store full": fill_store,
    "web's connection stalled": stall_web,
    "worker's connection stalled": stall_worker,
    "workers upgraded": upgrade_workers,
}


def play(
    cluster: Cluster,
    lessons: Mapping[str, Lesson],
    acts: Sequence[str],
    *,
    clients: int,
    seconds: float = 0,
    pause: float = 2,
    tell: Callable[[str], object] = print,
) -> Report:
    """Let clients work while the acts happen, again until ``seconds`` are over; return what was seen."""
    report = Report()
    until = time.monotonic() + seconds
    with Crowd(cluster.url, kinds(lessons), clients, cluster.progress) as crowd:
        while not report.acts or time.monotonic() < until:
            for name in acts:
                _wait_for_work(crowd)
                time.sleep(pause)
                tell(f"{len(crowd.runs):5} runs; {name}")
                ACTS[name](cluster)
                report.acts[name] += 1
        time.sleep(pause)
        tell(f"{len(crowd.runs):5} runs; the last ones end")
    report.runs, report.refused = crowd.runs, crowd.refused
    report.wrong += crowd.wrong()
    report.wrong += anyio.run(audited, cluster, crowd.runs)
    cluster.stop_workers()
    report.wrong += [f"a worker that was told to stop ended with {code}" for code in cluster.ended if code]
    report.wrong += [f"left: {one}" for one in cluster.left()]
    return report


def _wait_for_work(crowd: Crowd) -> None:
    """Wait until further runs have been accepted, so that a death has something to interrupt."""
    before, until = len(crowd.runs), time.monotonic() + 60
    while len(crowd.runs) <= before and time.monotonic() < until:
        time.sleep(0.05)


async def audited(cluster: Cluster, runs: Sequence[Ran]) -> list[str]:
    """Compare what readers got with what the web says now and with every message of the broker."""
    broker = await Broker(cluster.brokers[0].url).connect(10)
    try:
        async with httpx.AsyncClient(base_url=cluster.url, timeout=30) as client:
            wrong = [line for ran in runs for line in [*await _shown(client, ran), *await _stored(broker, ran)]]
        jobs = await broker.ask(f"STREAM.INFO.{subjects.JOBS}")
        if jobs["state"]["messages"]:
            wrong.append(f"{jobs['state']['messages']} jobs are left at the broker")
    finally:
        await broker.close()
    return wrong


async def _shown(client: httpx.AsyncClient, ran: Ran) -> list[str]:
    """Compare a run that has ended with its replay from the start."""
    if not ran.is_complete:
        return []
    answer = await client.get(f"/api/runs/{ran.id}/events", headers={"cookie": ran.cookie})
    again = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    if answer.status_code != httpx.codes.OK or again != ran.events:
        return [f"{ran.kind.name} {ran.id}: a second reader gets {answer.status_code} and other events"]
    return []


async def _stored(broker: Broker, ran: Ran) -> list[str]:
    """Check every message of a run's log: the verdict once, and nothing new after it."""
    wrong: list[str] = []
    seen: dict[int, Any] = {}
    for msg in await broker.read(subjects.RUNS, subjects.of_run(ran.id, "ev")):
        for event in map(from_json, msg.data.splitlines()):
            if event.id not in seen and any(one.type == "verdict" for one in seen.values()):
                wrong.append(f"{ran.kind.name} {ran.id}: event {event.id} was stored after the verdict")
            seen.setdefault(event.id, event)
    if sorted(seen) != list(range(1, len(ran.events) + 1)):
        wrong.append(f"{ran.kind.name} {ran.id}: the broker has the ids {sorted(seen)}, the reader {len(ran.events)}")
    return wrong
