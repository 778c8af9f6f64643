"""Start compilers and system tools with arguments of our own, which no shell parses, and never leave one running."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from typing import TypeVar

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

TIMED_OUT = 124
NOT_STARTED = 127
_GRACE_SECONDS = 3.0
_T = TypeVar("_T")
_GUARD = """pipe=/proc/self/fd/$1; shift
({ read -r _ || :; } <"$pipe" && kill -KILL 0) >/dev/null 2>&1 &
exec "$@"
"""
"""A shell that becomes the program and leaves a guard in its process group.

The guard kills the group when the pipe is closed, whose other end only this process holds. A parent's death signal
(``PR_SET_PDEATHSIG``) would not reach the program's own children.
"""


@dataclass(frozen=True)
class Result:
    """The output and exit code of a program; negative for a signal, 124 for a timeout, 127 if it did not start."""

    code: int
    output: str


async def capture(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    seconds: float = 20.0,
) -> Result:
    """Run a short program and return its output, both streams as one text. Never raises ``OSError``."""
    lines: list[str] = []
    code = await stream(argv, lines.append, env=env, cwd=cwd, seconds=seconds)
    return Result(code, "\n".join(lines))


async def stream(
    argv: Sequence[str | Path],
    line: Callable[[str], object],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    seconds: float = 600.0,
    pass_fds: Sequence[int] = (),
    tied: bool = False,
) -> int:
    """Run a program, pass each line of its output to ``line``, and return its exit code, as in ``Result.code``.

    On a timeout or cancellation, the program's whole process group is ended; if it is ``tied``, also when this process
    ends, even by SIGKILL. Descriptors in ``pass_fds`` stay open in the program and in programs that it starts.
    """
    try:
        with anyio.fail_after(seconds), _with_guard(argv, pass_fds, tied=tied) as (words, fds):
            async with _running(words, env, cwd, fds) as process:
                await _read_lines(process, line)
                return await process.wait()
    except TimeoutError:
        return TIMED_OUT
    except OSError as error:
        line(f"{argv[0]}: {error.strerror}")
        return NOT_STARTED


async def side_by_side(work: Callable[[_T], Awaitable[None]], items: Iterable[_T]) -> None:
    """Do the work for each item, for as many at a time as there are processors. ``work`` must not raise."""
    places = anyio.CapacityLimiter(os.cpu_count() or 1)

    async def do(item: _T) -> None:
        async with places:
            await work(item)

    async with anyio.create_task_group() as tasks:
        for item in items:
            tasks.start_soon(do, item)


@contextmanager
def _with_guard(
    argv: Sequence[str | Path], fds: Sequence[int], *, tied: bool
) -> Iterator[tuple[Sequence[str | Path], Sequence[int]]]:
    """Yield a command and descriptors for the program; if it is ``tied``, those with a guard."""
    if not tied:
        yield argv, fds
        return
    reader, writer = os.pipe()
    try:
        yield ["/bin/sh", "-c", _GUARD, "sh", str(reader), *argv], (*fds, reader)
    finally:
        os.close(reader)
        os.close(writer)


@asynccontextmanager
async def _running(
    argv: Sequence[str | Path], env: Mapping[str, str] | None, cwd: Path | None, pass_fds: Sequence[int]
) -> AsyncIterator[Process]:
    # Shielded: if a cancellation interrupts open_process, anyio kills the program without waiting for it and leaves
    # its children running.
    with anyio.CancelScope(shield=True):
        process = await anyio.open_process(
            [str(part) for part in argv],
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            cwd=cwd,
            env=env,
            start_new_session=True,
            pass_fds=pass_fds,
        )
    try:
        yield process
    except BaseException:
        # anyio itself would end only the program and leave its children running.
        with anyio.CancelScope(shield=True):
            await _end_group(process)
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await process.aclose()


async def _end_group(process: Process) -> None:
    _signal(process.pid, signal.SIGTERM)
    with anyio.move_on_after(_GRACE_SECONDS):
        await process.wait()
    _signal(process.pid, signal.SIGKILL)


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


async def _read_lines(process: Process, line: Callable[[str], object]) -> None:
    if process.stdout is None:
        return
    rest = ""
    async for chunk in TextReceiveStream(process.stdout, errors="replace"):
        *whole, rest = (rest + chunk).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        for text in whole:
            line(text)
    if rest:
        line(rest)
