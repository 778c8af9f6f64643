"""Helpers of the measurements: the cases, and a ready server."""

import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from app.course import Lesson, load_shelf
from app.settings import Settings
from app.toolchain import Toolchain, discover, missing, preferred


@dataclass(frozen=True)
class Case:
    """A lesson's command and the crate it is run on."""

    name: str
    lesson: Lesson
    command: str
    toolchain: Toolchain

    def source(self) -> str:
        """Return a new source: the solution with a unique function."""
        return f"{self.lesson.solution['src/main.rs']}\n#[allow(dead_code)]\nfn unique_{time.time_ns()}() {{}}\n"


@contextmanager
def serving(
    folder: Path,
    isolation: str = "auto",
    command: Sequence[str] = (str(Path(sys.executable).with_name("playground")),),
    variables: Mapping[str, str] | None = None,
) -> Iterator[tuple[http.client.HTTPConnection, int]]:
    """Run a real server with its data in ``folder`` and its runs where they are by default.

    Yield a connection and the process id.
    """
    require_compilers()  # a server without them would never be ready
    folder.mkdir(mode=0o711)
    env = os.environ | {"PLAYGROUND_DATA_DIR": str(folder / "data")}
    env = env | {"PLAYGROUND_ISOLATION": isolation, "PLAYGROUND_KEEP_ANSWERS": "0"} | dict(variables or {})
    with subprocess.Popen([*command, "serve", "--port", "0"], env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://([^\s/]+)", process.stdout.readline())
        if not found:
            sys.exit(f"The server did not start at isolation level {isolation}; playground doctor says why.")
        try:
            server = http.client.HTTPConnection(found[1], timeout=60)
            while not ready(server):
                time.sleep(0.1)
            time.sleep(1)
            yield server, process.pid
        finally:
            process.terminate()


@contextmanager
def beside_runs() -> Iterator[Path]:
    """Yield a new folder that the users of runs can pass, on the same file system as runs by default."""
    with tempfile.TemporaryDirectory(dir=Settings().scratch_dir.parent) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder).resolve()


def ready(server: http.client.HTTPConnection) -> bool:
    """Return True once the server has found its toolchains."""
    server.request("GET", "/readyz")
    return bool(json.load(server.getresponse())["ready"])


def built(server: http.client.HTTPConnection, case: Case) -> str:
    """Run the case with a new source and return the id of the finished run."""
    body = {"lesson": case.lesson.slug, "command": case.command, "toolchain": case.toolchain.name}
    text = json.dumps(body | {"files": {"src/main.rs": case.source()}})
    server.request("POST", "/api/runs", text, {"content-type": "application/json"})
    posted = json.load(server.getresponse())
    server.request("GET", posted["events"])
    server.getresponse().read()
    return str(posted["id"])


def require_compilers() -> None:
    """Exit with a sentence if no compiler here builds what is measured."""
    cases()


def cases() -> list[Case]:
    """Return the cases to measure, each on its lesson's default toolchain."""
    settings = Settings()
    lessons = {lesson.slug: lesson for lesson in load_shelf(settings.lessons_dir).default.lessons}
    toolchains = anyio.run(discover, settings.cache_dir)
    found = []
    for name, slug, command in (
        ("host, std", "hello-std", "cargo build"),
        ("host, freestanding", "linker-arguments", "cargo rustc -- -C link-arg=-nostartfiles"),
        ("bare metal", "bare-metal", f"cargo build --target {lessons['bare-metal'].target}"),
    ):
        toolchain = preferred(toolchains, lessons[slug].target)
        if toolchain is None or missing(toolchains, [lessons[slug].target]):
            sys.exit(
                f"No compiler here builds for {lessons[slug].target or 'this computer'}; make setup says what to do."
            )
        found.append(Case(f"{name}, {toolchain.name}", lessons[slug], command, toolchain))
    return found


def ours(server: http.client.HTTPConnection, case: Case, source: str) -> tuple[float, float]:
    """Return the seconds from the post to the verdict, and to the first event."""
    body = {"lesson": case.lesson.slug, "command": case.command, "toolchain": case.toolchain.name}
    text = json.dumps(body | {"files": {"src/main.rs": source}})
    began = time.perf_counter()
    server.request("POST", "/api/runs", text, {"content-type": "application/json"})
    server.request("GET", json.load(server.getresponse())["events"])
    first, last = 0.0, {}
    for line in server.getresponse():
        if line.startswith(b"data: "):
            first = first or time.perf_counter() - began
            last = json.loads(line.removeprefix(b"data: "))
    took = time.perf_counter() - began
    assert last["type"] == "verdict", last
    assert last["reached"], last
    return took, first


def stages(server: http.client.HTTPConnection, case: Case) -> dict[str, float]:
    """Run the case with a new source and return the milliseconds of each stage."""
    server.request("GET", f"/api/runs/{built(server, case)}")
    answer = server.getresponse()
    answer.read()
    told = dict(each.split(";dur=") for each in answer.headers["server-timing"].split(", "))
    return {name: float(took) for name, took in told.items()}
