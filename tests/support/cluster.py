"""A broker, workers and a web, each a process of its own, with wires between them. Each part can die and come back."""

import os
import re
import signal
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Self

import anyio

from app.engine.nats.broker import Broker
from app.engine.nats.runlog import Lease, known
from tests.support.broker import CONFIGURATION, NatsServer, WorkerProcess
from tests.support.ports import free_port
from tests.support.server import Server, serving
from tests.support.wire import Wire

_WHOLE_RUN = {"PLAYGROUND_RUN_SECONDS": "120", "PLAYGROUND_CPU_SECONDS": "120", "PLAYGROUND_PROGRAM_SECONDS": "60"}
"""On a busy machine a build takes many seconds, and a run that has been begun again must not meet a limit."""


class Cluster:
    """The processes of a cluster below ``folder``. ``max_file`` bounds the store of each broker, as NATS writes sizes.

    The web has one port for its whole life, so that readers come back to the same address. With three ``brokers``, each
    message is kept by all of them. Use it in one thread: a web ends with the thread that has started it.
    """

    def __init__(
        self, folder: Path, *, workers: int = 2, slots: int = 1, brokers: int = 1, max_file: str = "512MB"
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._stack = ExitStack()
        self.brokers = list(_brokers(folder, brokers, max_file))
        self._variables = _WHOLE_RUN | {"PLAYGROUND_ENGINE_REPLICAS": str(brokers)}
        self._slots = slots
        self._web: ExitStack | None = None
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._count = workers
        self.workers: list[WorkerProcess] = []
        self.ended: list[int] = []
        """The exit codes of workers that were told to stop."""

    def __enter__(self) -> Self:
        for broker in self.brokers:
            broker.start()
            self._stack.callback(broker.kill)
        self.web_wire = self._wire(0)
        self.worker_wires = [self._wire(number) for number in range(self._count)]
        self.start_web()
        self.workers += [self._worker(number) for number in range(self._count)]
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.kill()
        self.kill_web()
        self._stack.close()

    def _wire(self, number: int) -> Wire:
        wire = Wire(self.brokers[number % len(self.brokers)].url)
        self._stack.callback(wire.close)
        return wire

    # --- the web

    def start_web(self) -> Server:
        """Start the web and wait until it listens."""
        self._web = ExitStack()
        variables = self._variables | {"PLAYGROUND_ENGINE": self.web_wire.url}
        arguments = ("serve", "--port", str(self._port))
        return self._web.enter_context(serving(self.data, None, arguments, **variables))

    def kill_web(self) -> None:
        """Kill the web with SIGKILL."""
        if self._web:
            self._web.close()
            self._web = None

    def progress(self, lesson: str) -> set[str]:
        """Return the seats whose reached step is stored."""
        with closing(sqlite3.connect(f"file:{self.data}/progress.sqlite3?mode=ro", uri=True)) as db:
            return {seat for (seat,) in db.execute("select seat from reached where lesson = ?", (lesson,))}

    # --- workers

    def scratch(self, number: int) -> Path:
        """Return the folder of a worker's runs."""
        return self.folder / f"worker-{number}"

    def start_worker(self, number: int) -> None:
        """Start a worker, in the folder of the one that it replaces."""
        self.workers[number] = self._worker(number)

    def join_worker(self) -> None:
        """Start a further worker, in the folder of the first one."""
        self.workers.append(self._worker(0))

    def _worker(self, number: int) -> WorkerProcess:
        return WorkerProcess(self.worker_wires[number].url, self.scratch(number), self._slots, True, **self._variables)

    def holder(self, run_id: str) -> int:
        """Return the number of the worker that executes a run."""
        lease = anyio.run(_lease, self.brokers[0].url, run_id)
        return next(number for number, worker in enumerate(self.workers) if worker.id == lease.holder)

    def kill_worker(self, number: int, down: float = 0.5) -> None:
        """Kill a worker with SIGKILL, and start another one in the same folder."""
        self.workers[number].kill()
        time.sleep(down)
        self.start_worker(number)

    def stop_worker(self, number: int, seconds: float) -> None:
        """Stop a worker's process for so long, past its lease, and let it go on."""
        self.workers[number].send(signal.SIGSTOP)
        time.sleep(seconds)
        self.workers[number].send(signal.SIGCONT)

    def upgrade_worker(self, number: int) -> None:
        """Start a worker, and tell the one that it replaces to stop."""
        new = self._worker(number)
        self.ended.append(self.workers[number].kill(signal.SIGTERM))
        self.workers[number] = new

    # --- brokers

    def kill_broker(self, number: int = 0, down: float = 0.5) -> None:
        """Kill a broker with SIGKILL, and start it again on the same store."""
        self.brokers[number].kill()
        time.sleep(down)
        self.brokers[number].start()

    # --- what is left

    def stop_workers(self) -> None:
        """Tell every worker to stop."""
        for worker in self.workers:
            self.ended.append(worker.kill(signal.SIGTERM))

    def left(self) -> list[str]:
        """Return the processes and folders that stopped workers have left."""
        found = [str(path) for number in range(self._count) for path in self.scratch(number).glob("s*-*")]
        return found + [f"process {pid}: {text}" for pid, text in _processes(str(self.folder / "worker-"))]


async def _lease(url: str, run_id: str) -> Lease:
    broker = await Broker(url).connect(5)
    try:
        found = (await known(broker, run_id)).lease
        assert found, "no worker has begun the run"
        return found
    finally:
        await broker.close()


def _brokers(folder: Path, count: int, max_file: str) -> Iterator[NatsServer]:
    """Yield brokers, not started, each with a store of its own; several of them are one cluster."""
    routes = [f"nats://127.0.0.1:{free_port()}" for _ in range(count)]
    for number, route in enumerate(routes):
        home = folder / f"broker-{number}"
        (home / "store").mkdir(parents=True)
        text = re.sub(r"max_file: \S+", f"max_file: {max_file}", CONFIGURATION.read_text())
        if count > 1:
            text += f"server_name: broker-{number}\ncluster {{ name: playground\n  {_cluster(route, routes)} }}\n"
        (home / "nats.conf").write_text(text)
        options = ("--config", str(home / "nats.conf"), "--store_dir", str(home / "store"))
        yield NatsServer(home / "store", None, *options)


def _cluster(own: str, routes: Sequence[str]) -> str:
    return f'listen: "{own.removeprefix("nats://")}"\n  routes: [{", ".join(routes)}]'


def _processes(folder: str) -> Iterator[tuple[int, str]]:
    """Yield the processes that work in a folder whose path begins like this, or name it."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            told = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if folder in told or os.readlink(f"/proc/{name}/cwd").startswith(folder):
                yield int(name), told
