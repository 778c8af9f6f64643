"""``playground`` processes that are forked from one process, which has imported the program.

An import takes most of a server's start, about 1.8 s of processor time, and the tests start hundreds of servers and
commands. The process that forks them is Python's own fork server. Its memory shows the environment that it was started
with, not theirs, so attacks look at servers of their own.
"""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TextIO

from app.cli import main

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["app.cli.server", "app.engine.nats", __name__])


class Forked:
    """A process that runs ``playground`` with some arguments; it has the methods of ``Popen`` that tests use."""

    stdout: TextIO

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        reader, writer = _context.Pipe(duplex=False)
        with reader, writer:
            self._process = _context.Process(target=_run, args=(tuple(arguments), dict(env), writer))
            self._process.start()
            self.stdout = os.fdopen(os.dup(reader.fileno()), encoding="utf-8")
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code as ``Popen`` does, None while the process runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code; raises ``TimeoutExpired`` after so many seconds."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired("playground", timeout)
        return code

    def send_signal(self, how: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, how)

    def terminate(self) -> None:
        """Ask the process to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process at once."""
        self.send_signal(signal.SIGKILL)


def run_forked(
    *arguments: str, env: Mapping[str, str], cwd: Path | None = None, timeout: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Run ``playground`` with these arguments to its end, as ``subprocess.run`` does while it captures the output."""
    with tempfile.TemporaryDirectory(prefix="playground-test-") as name:
        stdout, stderr = (Path(name, stream) for stream in ("stdout", "stderr"))
        process = _context.Process(target=_run_into, args=(arguments, dict(env), cwd or Path.cwd(), stdout, stderr))
        process.start()
        process.join(timeout)
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["playground", *arguments], timeout, stdout.read_text(), stderr.read_text())
        return subprocess.CompletedProcess(["playground", *arguments], code, stdout.read_text(), stderr.read_text())


def _run(arguments: tuple[str, ...], env: dict[str, str], stdout: Connection) -> None:
    os.dup2(stdout.fileno(), 1)
    stdout.close()
    _become(arguments, env)


def _run_into(arguments: tuple[str, ...], env: dict[str, str], cwd: Path, stdout: Path, stderr: Path) -> None:
    os.chdir(cwd)
    for descriptor, path in ((1, stdout), (2, stderr)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    _become(arguments, env)


def _become(arguments: tuple[str, ...], env: dict[str, str]) -> None:
    """Run the command as a process group of its own, which ends with the tests."""
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["playground", *arguments]
    main()
