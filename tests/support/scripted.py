"""A scripted engine, scripted toolchains, a course of three lessons, and the lesson form as a browser posts it."""

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import anyio
import httpx

from app.binary import Card
from app.engine import ArtifactDetails, ArtifactFile, JobSpec, NoSuchRunError, QueueFullError, RunPhase, RunStatus
from app.protocol.events import Artifact, Check, Diagnostic, Event, Finished, Output, Started, Verdict
from app.stepper import NotSteppedError, Trace
from app.toolchain import DoctorReport, Toolchain, explanation

HTMX = {"hx-request": "true"}

START = 'fn main() {\n    println!("Hello");\n}\n'

LESSON = """
title = "Step `{slug}`"
goal = "See `{slug}`."
minutes = 3
section = "A section"
edit = ["src/main.rs"]
commands = ["cargo build", "cargo check"]
hints = ["First", "Second"]
[[check]]
id = "ok"
title = "It builds"
status = "ok"
[[expect]]
files = "solution"
command = "cargo build"
reached = true
"""

ERRORS = '[[class]]\nid = "gone"\ntitle = "Something is gone"\nmeans = "It was there."\nmatch = ["gone"]\n'

LOG: tuple[Event, ...] = (
    Started(id=1, toolchain="1.99", argv=("cargo", "build"), isolation="none"),
    Output(id=2, stream="stderr", text="\x1b[31mred </pre><script>alert(1)</script>\n"),
    Diagnostic.model_validate(
        {"id": 3, "level": "error", "code": None, "message": "it is gone", "rendered": "gone\x1b[0m\n", "class": "gone"}
    ),
    Finished(id=4, status="failed", exit_code=101, seconds=0.5),
    Verdict(id=5, reached=True, checks=(Check(id="ok", title="It builds", ok=True),)),
)

BUILT = Artifact(
    id=3,
    path="target/debug/x",
    bytes=9,
    sha256="0",
    format="ELF",
    machine="ARM",
    entry=None,
    entry_symbol=None,
    needed=(),
    interpreter=None,
)


class ScriptedToolchains:
    """A ``ToolchainSource`` with two compilers for the host; tests change its attributes."""

    def __init__(self) -> None:
        here = Path(sys.executable)
        newest = Toolchain(
            name="1.99",
            version="1.99.0",
            stable=True,
            source="system",
            host="x86_64-unknown-linux-gnu",
            cargo=here,
            rustc=here,
            compiler=here,
            sysroot=here.parent,
            targets={"x86_64-unknown-linux-gnu": "shipped"},
        )
        self.toolchains: tuple[Toolchain, ...] = (newest, replace(newest, name="1.98", version="1.98.0"))
        self.explanations: dict[str, str] = {}
        self.mended_by: str | None = None
        self.calls: list[str] = []
        self.answers = anyio.Event()
        """``discover`` waits for this event."""

    async def discover(self, _cache_dir: Path, /) -> tuple[Toolchain, ...]:
        self.calls.append("discover")
        await self.answers.wait()
        return self.toolchains

    async def explanation(self, toolchain: Toolchain, code: str, /) -> str | None:
        self.calls.append(code)
        await anyio.sleep(0.05)
        return self.explanations.get(code) or await explanation(toolchain, code)

    async def examine(
        self, _cache_dir: Path, _lessons: Mapping[str, Sequence[str]], _essential: tuple[str, ...], /
    ) -> DoctorReport:
        self.calls.append("examine")
        await anyio.sleep(0.05)
        problems = ("There is no `core` for it.",)
        return DoctorReport(ok=False, toolchains=(), linkers=(), lookups=(), problems=problems, command=self.mended_by)


class ScriptedEngine:
    """An engine that replays the same log for every job; ``state`` is the state of each run."""

    def __init__(self) -> None:
        self.jobs: list[JobSpec] = []
        self.log = LOG
        self.state: RunPhase = "done"
        self.cancelled: list[str] = []
        self.visitors: list[str | None] = []
        self.full: QueueFullError | None = None
        self.preparing = False
        self.interrupted: str | None = None

    async def health(self) -> str:
        """Return ``ok``."""
        return "ok"

    async def warm(self) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Do nothing."""

    def interruption(self) -> str | None:
        return self.interrupted

    async def note_presence(self, owner: str | None) -> None:
        self.visitors.append(owner)

    async def submit(self, job: JobSpec) -> str:
        if self.full:
            raise self.full
        self.jobs.append(job)
        return f"{len(self.jobs):032x}"

    async def status(self, run_id: str) -> RunStatus:
        number = int(run_id, 16)
        if not 0 < number <= len(self.jobs):
            raise NoSuchRunError(run_id)
        return RunStatus(id=run_id, state=self.state, job=self.jobs[number - 1], preparing=self.preparing)

    async def events(self, run_id: str, after_id: int = 0) -> AsyncIterator[Event]:
        await self.status(run_id)
        for event in self.log:
            if event.id > after_id:
                yield event

    async def cancel(self, run_id: str) -> None:
        self.cancelled.append(run_id)

    async def forget(self, owner: str) -> None:
        self.forgotten = owner

    async def artifact(self, run_id: str) -> ArtifactFile:
        raise NotImplementedError

    async def artifact_bytes(self, run_id: str) -> AsyncGenerator[bytes]:
        if run_id:
            raise NotImplementedError
        yield b""

    async def card(self, run_id: str) -> Card | None:
        raise NotImplementedError

    async def steps(self, run_id: str) -> Trace:
        raise NotSteppedError(run_id)

    async def artifact_details(self, run_id: str, since: str | None = None) -> ArtifactDetails:
        raise NotImplementedError


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


async def post(
    client: httpx.AsyncClient,
    path: str = "/lessons/one/runs",
    main: str = START,
    *,
    htmx: bool = False,
    **fields: str,
) -> httpx.Response:
    """Post the lesson's form as a browser does."""
    form = {"file:src/main.rs": main, "command": "cargo build", **fields}
    return await client.post(path, data=form, headers=HTMX if htmx else {})
