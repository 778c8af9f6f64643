"""The one door to a process: a policy becomes an isolated, limited process.

The only level so far is ``none``: a session of its own, a cleared environment, an empty folder, and
the whole process group killed at the end. It is for one person on the machine's own keyboard.
"""

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import anyio
from anyio.abc import Process

Level = Literal["none"]


class ProgramGoneError(RuntimeError):
    """The program cannot be started: it is not there (any more), or is no program."""


@dataclass(frozen=True)
class Policy:
    """How strictly a process is kept; ``level`` is shown to learners and operators."""

    level: Level = "none"

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs ``argv`` at this level."""
        return list(argv)


@asynccontextmanager
async def process(policy: Policy, argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> AsyncIterator[Process]:
    """A running process with pipes for its two outputs and nothing to read from.

    On leaving, however that happens, the process and all that it started in its group are gone.
    Raises ``ProgramGoneError`` when the program cannot be started.
    """
    try:
        child = await anyio.open_process(
            policy.wrap(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=dict(env),
            start_new_session=True,
        )
    except OSError as error:
        raise ProgramGoneError(f"{argv[0]} cannot be started: {error.strerror}") from error
    try:
        yield child
    finally:
        # Cancelling alone would leave the grandchildren, rustc and the linker, running.
        with anyio.CancelScope(shield=True):
            kill_group(child)
            await child.wait()
            await child.aclose()


def kill_group(child: Process) -> None:
    """Kill what the process has started in its group, itself included; nothing happens when all is gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
