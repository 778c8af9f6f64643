"""An engine in a second process, behind a Unix socket: each call is a connection with one line of JSON each way.

``RemoteEngine`` is the proxy that a server would hold. It follows each accepted run and keeps its own log. So a run
still ends with a verdict when the process dies, and progress is stored before a reader sees the verdict.
"""

import json
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import SocketStream, TaskGroup
from anyio.streams.buffered import BufferedByteReceiveStream
from pydantic import TypeAdapter

from app.binary import Card
from app.course import load_shelf
from app.engine import (
    ArtifactDetails,
    ArtifactFile,
    JobSpec,
    NoSuchRunError,
    NothingBuiltError,
    OnVerdict,
    OwnerQueueFullError,
    QueueFullError,
    RunStatus,
)
from app.engine.local import LocalEngine
from app.engine.log import Run
from app.protocol.events import Event, Verdict, from_json, to_json
from app.settings import Settings
from app.stepper import NotSteppedError, Trace

_LONGEST = 64 * 1024 * 1024
_ERRORS = {
    one.__name__: one
    for one in (NoSuchRunError, NothingBuiltError, OwnerQueueFullError, QueueFullError, NotSteppedError)
}
_ANSWERS: dict[str, TypeAdapter[Any]] = {
    "health": TypeAdapter(str),
    "warm": TypeAdapter(None),
    "stop": TypeAdapter(None),
    "submit": TypeAdapter(str),
    "note_presence": TypeAdapter(None),
    "status": TypeAdapter(RunStatus),
    "cancel": TypeAdapter(None),
    "forget": TypeAdapter(None),
    "artifact": TypeAdapter(ArtifactFile),
    "steps": TypeAdapter(Trace),
    "card": TypeAdapter(Card | None),
    "artifact_details": TypeAdapter(ArtifactDetails),
}


async def serve(settings: Settings, socket: str) -> None:
    """Serve an engine on the socket until killed."""
    async with LocalEngine(settings, load_shelf(settings.lessons_dir).courses) as engine:

        async def answer(wire: SocketStream) -> None:
            async with wire:
                with suppress(anyio.BrokenResourceError):
                    await _answer(engine, wire)

        listener = await anyio.create_unix_listener(socket)
        print("listening", flush=True)
        await listener.serve(answer)


async def _answer(engine: LocalEngine, wire: SocketStream) -> None:
    name, *arguments = json.loads(await BufferedByteReceiveStream(wire).receive_until(b"\n", _LONGEST))
    try:
        if name == "follow":
            await _follow(engine, wire, *arguments)
        elif name == "artifact_bytes":
            async with aclosing(engine.artifact_bytes(*arguments)) as pieces:
                async for piece in pieces:
                    await wire.send(json.dumps({"piece": piece.hex()}).encode() + b"\n")
        else:
            arguments = [JobSpec.model_validate(one) if isinstance(one, dict) else one for one in arguments]
            answer = _ANSWERS[name].dump_json(await getattr(engine, name)(*arguments))
            await wire.send(b'{"answer": ' + answer + b"}\n")
    except tuple(_ERRORS.values()) as error:
        await wire.send(json.dumps({"error": type(error).__name__, "text": str(error)}).encode() + b"\n")


async def _follow(engine: LocalEngine, wire: SocketStream, run_id: str) -> None:
    """Send the run's events, and ``NoSuchRunError`` once the engine has dropped the run."""
    async for event in engine.events(run_id):
        await wire.send(to_json(event).encode() + b"\n")
    while (await engine.status(run_id)).state == "done":  # noqa: ASYNC110 - an engine tells nobody that it drops a run
        await anyio.sleep(0.1)


class RemoteEngine:
    """An engine whose jobs run in another process; created by ``remote``."""

    def __init__(
        self, settings: Settings, socket: str, process: subprocess.Popen[str], tasks: TaskGroup, on_verdict: OnVerdict
    ) -> None:
        self._reader_seconds = settings.reader_seconds
        self._socket = socket
        self.process = process
        self._tasks = tasks
        self._on_verdict = on_verdict
        self._runs: dict[str, Run] = {}

    async def health(self) -> str:
        try:
            return str(await self._call("health"))
        except OSError:
            return "the engine is gone"

    async def warm(self) -> None:
        await self._call("warm")

    async def stop(self) -> None:
        await self._call("stop")

    async def submit(self, job: JobSpec) -> str:
        run_id = str(await self._call("submit", job.model_dump(mode="json")))
        if run_id not in self._runs:
            run = self._runs[run_id] = Run(job)
            self._tasks.start_soon(self._follow, run)
            if job.attended:
                self._tasks.start_soon(self._attend, run)
        return run_id

    def interruption(self) -> None:
        """Return None: no page follows this engine."""

    async def note_presence(self, owner: str | None) -> None:
        await self._call("note_presence", owner)

    async def status(self, run_id: str) -> RunStatus:
        run = self._run(run_id)
        try:
            found: RunStatus = await self._call("status", run_id)
        except NoSuchRunError:
            self._drop(run)  # the other readers must not keep it either
            raise
        except OSError:
            return run.status()
        if found.state == "done" and run.state != "done":
            return found.model_copy(update={"state": "running", "verdict": None})
        return run.status() if run.state == "done" else found

    async def events(self, run_id: str, after_id: int = 0) -> AsyncIterator[Event]:
        async with aclosing(self._run(run_id).follow(after_id)) as log:
            async for event in log:
                yield event

    async def cancel(self, run_id: str) -> None:
        if self._run(run_id).state != "done":
            await self._call("cancel", run_id)

    async def forget(self, owner: str) -> None:
        await self._call("forget", owner)
        for run in [run for run in self._runs.values() if run.job.owner == owner]:
            self._drop(run)

    async def artifact(self, run_id: str) -> ArtifactFile:
        return await self._call("artifact", run_id)  # type: ignore[no-any-return]  # its adapter says the type

    async def artifact_bytes(self, run_id: str) -> AsyncGenerator[bytes]:
        async for answer in self._lines("artifact_bytes", run_id):
            yield bytes.fromhex(json.loads(answer)["piece"])

    async def steps(self, run_id: str) -> Trace:
        return await self._call("steps", run_id)  # type: ignore[no-any-return]  # as above

    async def card(self, run_id: str) -> Card | None:
        return await self._call("card", run_id)  # type: ignore[no-any-return]  # as above

    async def artifact_details(self, run_id: str, since: str | None = None) -> ArtifactDetails:
        return await self._call("artifact_details", run_id, since)  # type: ignore[no-any-return]  # as above

    def _run(self, run_id: str) -> Run:
        if run_id not in self._runs:
            raise NoSuchRunError(run_id)
        return self._runs[run_id]

    def _drop(self, run: Run) -> None:
        self._runs.pop(run.id, None)
        run.drop()

    async def _follow(self, run: Run) -> None:
        """Copy the run's log until the other process ends, or drops the run because it has expired."""
        run.state = "running"
        try:
            async for line in self._lines("follow", run.id):
                event = from_json(line)
                if isinstance(event, Verdict):
                    await self._on_verdict(run.job, tuple(run.log), event)
                    run.end(event)
                else:
                    run.emit(event)
        except NoSuchRunError:
            self._drop(run)
        except OSError:
            pass
        finally:
            if not (run.verdict() or run.dropped):
                run.lose()

    async def _attend(self, run: Run) -> None:
        while run.state != "done":
            await anyio.sleep(0.1)
            if not run.readers and time.monotonic() - run.idle_since > self._reader_seconds:
                await self.cancel(run.id)

    async def _call(self, name: str, *arguments: object) -> Any:
        async with aclosing(self._lines(name, *arguments)) as lines:
            async for line in lines:
                return _ANSWERS[name].validate_python(json.loads(line)["answer"])
        raise ConnectionError("the engine is gone")

    async def _lines(self, name: str, *arguments: object) -> AsyncGenerator[bytes]:
        """Send a call and yield the lines of its answer. Raises the remote error, or ``OSError``."""
        async with await anyio.connect_unix(self._socket) as wire:
            lines = BufferedByteReceiveStream(wire)
            with suppress(anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
                await wire.send(json.dumps([name, *arguments]).encode() + b"\n")
                while True:
                    line = await lines.receive_until(b"\n", _LONGEST)
                    if line.startswith(b'{"error"'):
                        failed = json.loads(line)
                        raise _ERRORS[failed["error"]](failed["text"])
                    yield line


@asynccontextmanager
async def remote(settings: Settings, on_verdict: OnVerdict) -> AsyncIterator[RemoteEngine]:
    """Run an engine in a second process and kill that process at the end."""
    socket = str(settings.scratch_dir.parent / "engine.sock")
    command = [sys.executable, "-m", "tests.support.remote", socket, settings.model_dump_json()]
    with subprocess.Popen(  # noqa: ASYNC220 - it starts once, before anything else goes on
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as process:
        assert process.stdout
        try:
            assert await anyio.to_thread.run_sync(process.stdout.readline) == "listening\n"
            async with anyio.create_task_group() as tasks:
                yield RemoteEngine(settings, socket, process, tasks, on_verdict)
                tasks.cancel_scope.cancel()
        finally:
            process.kill()


if __name__ == "__main__":
    anyio.run(serve, Settings(**json.loads(sys.argv[2])), sys.argv[1])
