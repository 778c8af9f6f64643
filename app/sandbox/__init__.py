"""Start the programs of strangers: a box becomes an isolated, limited, watched process."""

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import anyio
from anyio.abc import Process

from app import runfiles
from app.protocol.events import Limit
from app.runfiles import OURS, RunFolder
from app.sandbox.box import Box, Level, TraceRequest
from app.sandbox.cgroup import Group, settle
from app.sandbox.detect import Isolation, IsolationError, detect
from app.sandbox.kernel import memory_kills
from app.sandbox.limits import Limits
from app.sandbox.python import for_python, python_folders
from app.sandbox.users import may_give
from app.sandbox.watch import TICK, Watch, descendants

__all__ = [
    "Box",
    "Confined",
    "Isolation",
    "IsolationError",
    "Level",
    "Limits",
    "ProgramGoneError",
    "confined",
    "detect",
    "for_python",
    "may_give",
    "process",
    "python_folders",
    "settle",
]

_LONGEST_REPORT = 64 * 1024
_LAST_SWEEP = 5.0
"""Seconds that the launcher has to end what it started, before it is ended itself."""


class ProgramGoneError(RuntimeError):
    """The program cannot be started: it is not there (any more), is no program, or cannot be read by the run."""


@dataclass
class Confined:
    """A process in its box; ``limit`` is set once the watcher has ended it, or its end shows that one was broken."""

    process: Process
    box: Box
    watch: Watch
    group: Group | None = None
    limit: Limit | None = None
    report: int | None = None
    kills_before: int = 0

    def read_report(self) -> bytes:
        """What the launcher saw of the program, one line of JSON; nothing when there was none, or it was cut off."""
        if self.report is None:
            return b""
        try:
            return os.read(self.report, _LONGEST_REPORT)
        except BlockingIOError:
            return b""

    def left_behind(self) -> Limit | None:
        """The limit that was broken when the run ended: by its files between two looks, or at the kernel's word."""
        if self.box.level == "none":
            return None
        if self.group:
            # The machine's count of kills below would blame the run for a neighbour's memory.
            return self.group.broken() or self.watch.files()
        return self.watch.files() or self._memory_ran_out()

    def _memory_ran_out(self) -> Limit | None:
        """Whether the kernel has killed somebody for memory meanwhile and the run failed: runs are the first to go."""
        return "memory" if self.process.returncode and memory_kills() > self.kills_before else None

    async def end(self) -> None:
        """End the process and all that it started; returns when they are gone."""
        if self.box.level == "landlock":
            # The launcher ends its descendants, of whom some may have left the group.
            self._signal(signal.SIGTERM)
            with anyio.move_on_after(_LAST_SWEEP):
                await self.process.wait()
        # From below: the first process of a namespace leaves the group, and does not notice the death of bubblewrap
        # when that comes too early. With it all others of the namespace end.
        for below in reversed([*descendants(self.process.pid)][1:]):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(below, signal.SIGKILL)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self._signal(signal.SIGKILL)
        await self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        # Not the process's own methods, which may take its exit code away from whoever waits for it.
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)


@asynccontextmanager
async def process(
    box: Box,
    argv: Sequence[str],
    root: Path,
    cwd: Path,
    env: Mapping[str, str],
    readable: Sequence[Path] = (),
    observe: float | None = None,
) -> AsyncIterator[Confined]:
    """A running process that is ended when it breaks a limit, alone or with all that it started.

    With ``observe``, in seconds, a program below ``cwd`` that the process becomes is watched. The rest is as for
    ``confined``.
    """
    with _channel(observe) as (report, trace_request):
        async with confined(box, argv, root, cwd, env, readable, trace_request=trace_request) as child:
            child.report = report
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_watch, child)
                    yield child
                    tasks.cancel_scope.cancel()
            finally:
                with anyio.CancelScope(shield=True):
                    await child.end()
                    child.limit = child.limit or await runfiles.look(child.left_behind)


@asynccontextmanager
async def confined(
    box: Box,
    argv: Sequence[str],
    root: Path,
    cwd: Path,
    env: Mapping[str, str],
    readable: Sequence[Path] = (),
    *,
    stdin: int = subprocess.DEVNULL,
    trace_request: TraceRequest | None = None,
) -> AsyncIterator[Confined]:
    """A running process with pipes for its two outputs, held by its walls and by the limits of each process.

    ``root`` is the run's folder, ``cwd`` one below it, ``readable`` are folders of the toolchain. On leaving, however
    that happens, the process and all that it started are gone. Raises ``ProgramGoneError``.
    """
    hidden = box.unreadable(readable)
    if hidden:
        raise ProgramGoneError(f"Runs cannot read {hidden}, because its folder is closed to their user")
    if not _may_start(cwd / argv[0]):
        raise ProgramGoneError(f"{argv[0]} cannot be started: it is not there")
    # Opened before the run, which can put another in its place from then on.
    with RunFolder(root, box.user).open() as folder:
        child = await _start(box, argv, folder, cwd, env, readable, stdin, trace_request)
        try:
            if child.group:
                child.group.hold(child.process.pid)
            yield child
        finally:
            # Cancelling alone would leave what the process has started.
            with anyio.CancelScope(shield=True):
                await child.end()
                await child.process.aclose()
            if child.group:
                child.group.remove()


def _may_start(program: Path) -> bool:
    # Not os.access, which leaves out the capabilities by which a server that is not root looks into a run's folder.
    try:
        return bool(program.stat().st_mode & 0o111)
    except OSError:
        return False


@contextmanager
def _channel(observe: float | None) -> Iterator[tuple[int | None, TraceRequest | None]]:
    """A pipe for what the launcher sees: the end to read from, which never waits, and what the launcher is told."""
    if observe is None:
        yield None, None
        return
    report, write_end = os.pipe()
    os.set_blocking(report, False)
    try:
        yield report, TraceRequest(write_end, observe)
    finally:
        os.close(report)
        os.close(write_end)


@cache
def _alive() -> int:
    """The end to read from of a pipe that hangs up when this process ends, however it does."""
    read, _ = os.pipe()
    return read


async def _start(
    box: Box,
    argv: Sequence[str],
    folder: RunFolder,
    cwd: Path,
    env: Mapping[str, str],
    readable: Sequence[Path],
    stdin: int,
    observe: TraceRequest | None,
) -> Confined:
    kills, alive = memory_kills(), _alive()
    try:
        # Cancelled in the middle, only the process itself would be ended, and not what it has just started.
        with anyio.CancelScope(shield=True):
            child = await anyio.open_process(
                box.command(argv, folder.path, cwd, readable, observe, alive),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd,
                env=dict(env),
                start_new_session=True,
                pass_fds=(alive,) if observe is None else (alive, observe.report),
            )
    except OSError as error:
        if error.errno in OURS:
            raise
        raise ProgramGoneError(f"{argv[0]} cannot be started: {error.strerror}") from error
    group = box.groups.of(box.limits) if box.groups else None
    watch = Watch(child.pid, folder, box.limits, box.user)
    return Confined(child, box, watch, group, kills_before=kills)


async def _watch(confined: Confined) -> None:
    while confined.limit is None:
        await anyio.sleep(TICK)
        # In a thread: ten thousand files, or as many descriptors, take longer than everybody else should wait.
        confined.limit = await runfiles.look(_look, confined)
    await confined.end()


def _look(confined: Confined) -> Limit | None:
    return confined.watch.look() or (confined.group.broken() if confined.group else None)
