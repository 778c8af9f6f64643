"""A real NATS server, and real workers."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import anyio

from app.engine.nats.broker import Broker
from tests.support.forked import Forked
from tests.support.polling import eventually
from tests.support.ports import free_port

CONFIGURATION = Path(__file__).parents[2] / "deploy/nats.conf"
SERVER = Path(sys.executable).with_name("nats-server")


class NatsServer:
    """A NATS server on a loopback port, with JetStream in a folder. It can be killed and started again."""

    def __init__(self, folder: Path, port: int | None = None, *options: str) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        command = [str(SERVER), "--port", str(self.port), *self.options]
        log = (self.folder.parent / "nats.log").open("ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()
        if not eventually(self._greets):
            self.kill()
            raise AssertionError((self.folder.parent / "nats.log").read_text())

    def _greets(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as wire:
            return wire.recv(4) == b"INFO"
        return False

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Kill it and wait for its end."""
        if self.process:
            self.process.send_signal(how)
            self.process.wait(10)
            self.process = None


@contextlib.contextmanager
def nats_server(*options: str, configuration: Path = CONFIGURATION) -> Iterator[NatsServer]:
    """Run a NATS server with an empty store, and kill it at the end."""
    with tempfile.TemporaryDirectory(prefix="playground-nats-") as folder:
        (Path(folder) / "store").mkdir()
        store = Path(folder) / "store"
        server = NatsServer(store, None, "--config", str(configuration), "--store_dir", str(store), *options)
        server.start()
        try:
            yield server
        finally:
            server.kill()


class WorkerProcess:
    """A real ``playground worker`` process. Unless ``forked`` is False, it is forked as servers are."""

    def __init__(self, url: str, scratch: Path, slots: int = 1, forked: bool = True, /, **variables: str) -> None:
        arguments = ["worker", "--engine", url, "--slots", str(slots)]
        env = os.environ | {"PLAYGROUND_SCRATCH_DIR": str(scratch)} | variables
        self.process = Forked(arguments, env) if forked else _installed(arguments, env)
        assert self.process.stdout is not None
        said = []
        while not (named := re.search(r"Worker (\S+) takes runs", line := self.process.stdout.readline())):
            said.append(line)
            assert line, f"the worker did not say its name but {said}"
        self.id = named[1]

    def send(self, how: signal.Signals) -> None:
        """Signal the worker, unless it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(how)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> int:
        """Signal the worker, wait for its end, and return its exit code."""
        self.send(how)
        code = self.process.wait(60)
        if self.process.stdout:
            self.process.stdout.close()
        return code


def _installed(arguments: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start the installed command."""
    command = [str(Path(sys.executable).with_name("playground")), *arguments]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True)


async def connected(url: str) -> Broker:
    """Return a connection."""
    with anyio.fail_after(60):
        return await Broker(url).connect(5)
