"""Start untrusted programs in a box: isolated, limited and watched."""

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from io import FileIO
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
    "Parked",
    "ProgramGoneError",
    "confined",
    "detect",
    "for_python",
    "may_give",
    "parked",
    "process",
    "python_folders",
    "settle",
]

_LONGEST_REPORT = 64 * 1024
_SWEEP_SECONDS = 5.0
"""Seconds that the launcher gets to end its descendants before it is killed itself."""


class ProgramGoneError(RuntimeError):
    """The program cannot be started: it is missing, is not executable, or cannot be read by the run."""


@dataclass
class Confined:
    """A process in its box. ``limit`` is the limit that it exceeded, known at the latest when it has ended."""

    process: Process
    box: Box
    watch: Watch
    group: Group | None = None
    limit: Limit | None = None
    report: int | None = None
    kills_before: int = 0

    def read_report(self) -> bytes:
        """Return the launcher's report on the program, one line of JSON, or no bytes if there is none."""
        if self.report is None:
            return b""
        try:
            return os.read(self.report, _LONGEST_REPORT)
        except BlockingIOError:
            return b""

    def exceeded(self) -> Limit | None:
        """Return the limit that the running process has exceeded, or None."""
        return self.watch.look() or (self.group.broken() if self.group else None)

    def left_behind(self) -> Limit | None:
        """Return the limit that the run had exceeded when it ended and that the watcher had not noticed."""
        if self.box.level == "none":
            return None
        if self.group:
            # The group counts its own kills. The machine's count below would include those of other runs.
            return self.group.broken() or self.watch.files()
        if limit := self.watch.files():
            return limit
        # Runs have the highest oom_score_adj, so a kill while a run was failing most likely hit this run.
        return "memory" if self.process.returncode and memory_kills() > self.kills_before else None

    async def end(self) -> None:
        """End the process and all its descendants, and wait until they are gone."""
        if self.box.level == "landlock":
            # The launcher ends its descendants, some of which may have left the process group.
            self._signal(signal.SIGTERM)
            with anyio.move_on_after(_SWEEP_SECONDS):
                await self.process.wait()
        if self.process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGSTOP)  # so that bubblewrap begins no namespace after the listing
        # From the bottom up: the first process of a namespace leaves the process group and, early on, does not yet
        # notice the death of bubblewrap. When it dies, the kernel ends all others in its namespace.
        for below in reversed([*descendants(self.process.pid)][1:]):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(below, signal.SIGKILL)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self._signal(signal.SIGKILL)
        await self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        # Process.terminate and Process.kill may reap the child, which would lose its exit code for a waiting task.
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
    parked: "Parked | None" = None,
    must_yield: Callable[[], bool] = bool,
) -> AsyncIterator[Confined]:
    """Run a process that is ended when it and its descendants exceed a limit.

    If ``observe``, in seconds, is given, the launcher traces the program below ``cwd`` that the process becomes.
    ``parked`` is a process in the same box that has become the program already; it cannot be observed. Once
    ``must_yield`` returns True, other runs go first. The other parameters are as for ``confined``.
    """
    with _channel(observe) as (report, trace_request):
        async with (
            confined(box, argv, root, cwd, env, readable, trace_request=trace_request)
            if parked is None
            else nullcontext(parked.child)
        ) as child:
            child.report = report
            child.watch.must_yield = must_yield
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
    park: int | None = None,
) -> AsyncIterator[Confined]:
    """Run a process with pipes for its two outputs, isolated and with resource limits, but without a watcher.

    ``root`` is the run's folder, ``cwd`` a folder in it, ``readable`` are folders of the toolchain. When the context
    ends, the process and its descendants are gone. ``park``: see ``Box.command``. Raises ``ProgramGoneError``.
    """
    hidden = box.unreadable(readable)
    if hidden:
        raise ProgramGoneError(f"Runs cannot read {hidden}, because its folder is closed to their user")
    if park is None:
        _check(argv, cwd)
    # Opened before the run starts, because the run can replace it.
    with RunFolder(root, box.user).open() as folder:
        child = await _start(box, argv, folder, cwd, env, readable, stdin, trace_request, park)
        try:
            if child.group:
                child.group.hold(child.process.pid)
            yield child
        finally:
            # Shielded, because a cancelled end would leave descendants running.
            with anyio.CancelScope(shield=True):
                await child.end()
                await child.process.aclose()
            if child.group:
                child.group.remove()


def _check(argv: Sequence[str], cwd: Path) -> None:
    """Raise ``ProgramGoneError`` if the program cannot be started."""
    # os.access checks the real user's rights and ignores the capabilities that let the server read a run's folder.
    try:
        executable = bool((cwd / argv[0]).stat().st_mode & 0o111)
    except OSError:
        executable = False
    if not executable:
        raise ProgramGoneError(f"{argv[0]} cannot be started: it does not exist or is not executable")


@dataclass(frozen=True)
class Parked:
    """A process that is isolated already and waits for its program, which saves the next run that time."""

    child: Confined
    pipe: FileIO
    root: Path

    def start(self, argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
        """Have it become the program, whose end is that of the context of ``parked``. Works in any thread.

        If the program does not exist, the launcher says so and exits.
        """
        inside = self.child.box.inside(self.root) / cwd.relative_to(self.root)
        variables = [f"{name}={value}" for name, value in env.items()]
        message = "\0".join((str(inside), f"{len(variables)}", *variables, *argv))
        self.child.kills_before = memory_kills()
        with self.pipe, suppress(BrokenPipeError):  # it was killed meanwhile, and the run ends as a killed one does
            self.pipe.write(os.fsencode(message))


@asynccontextmanager
async def parked(box: Box, root: Path, readable: Sequence[Path]) -> AsyncIterator[Parked]:
    """Have a process wait in the box for its program. The parameters are as for ``confined``."""
    read_end, write_end = os.pipe()
    with FileIO(write_end, "wb") as pipe, FileIO(read_end, "rb") as its_end:
        async with confined(box, (), root, root, {}, readable, park=read_end) as child:
            its_end.close()
            yield Parked(child, pipe, root)


@contextmanager
def _channel(observe: float | None) -> Iterator[tuple[int | None, TraceRequest | None]]:
    """Yield the non-blocking read end of a pipe for the launcher's report, and the request for that report."""
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
    """Return the read end of a pipe that hangs up when this process ends, even if it is killed."""
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
    park: int | None,
) -> Confined:
    kills, alive = memory_kills(), _alive()
    further = [*([] if observe is None else [observe.report]), *([] if park is None else [park])]
    try:
        # Shielded: if a cancellation interrupts open_process, anyio ends only the process and not its descendants.
        with anyio.CancelScope(shield=True):
            child = await anyio.open_process(
                box.command(argv, folder.path, cwd, readable, observe, alive, park),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd,
                env=dict(env),
                start_new_session=True,
                pass_fds=(alive, *further),
            )
    except OSError as error:
        if error.errno in OURS:
            raise
        raise ProgramGoneError(f"{argv[0] if argv else box.level} cannot be started: {error.strerror}") from error
    group = box.groups.of(box.limits) if box.groups else None
    watch = Watch(child.pid, folder, box.limits, box.user, is_reaped=box.level == "landlock")
    return Confined(child, box, watch, group, kills_before=kills)


async def _watch(confined: Confined) -> None:
    while confined.limit is None:
        await anyio.sleep(TICK)
        # In a thread, because ten thousand files or descriptors would block the event loop for too long.
        confined.limit = await runfiles.look(confined.exceeded)
    await confined.end()
