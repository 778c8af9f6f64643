"""Load a real server with simulated learners, and prove that a greedy seat delays nobody: ``python -m bench.load``.

``python -m bench.load [SECONDS] [SEATS] [THINK]``: first, that many seats (100) open pages, post runs and follow
streams, with about 20 seconds of thinking between two runs. Then ten honest seats, who think for THINK seconds (6),
run with and without a greedy one, which keeps 25 endless builds and 25 endless programs in the queue. The exit code is
1 when a bound is exceeded.
"""

import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx

from app.cli.learner import Browser, Ran
from app.course import Lesson
from bench.common import cases, serving
from bench.processes import settled

SECONDS = 60.0
SEATS = 100
THINK = 20.0
"""Seconds between two runs of a learner, on average."""
MOST_SECONDS = 0.5
"""The bound for the 95th percentile of a run with a hundred seats."""
MOST_TIMES = 2.0
"""The bound for the 95th percentile beside a greedy seat, as a multiple of that without."""
_HONEST, HONEST_THINK = 10, 6.0
_TIMES = 25
ENDLESS = (
    ("cargo build", "#![allow(long_running_const_eval)]\nconst A: () = loop {};\nfn main() { A }\n"),
    ("cargo run", "fn main() { loop { std::thread::sleep(std::time::Duration::from_millis(50)); } }\n"),
)
"""Commands, each with a source for which it runs until it is stopped."""
_PAUSE = 5.0
"""Seconds after which a greedy seat tries again when a run was refused."""
_AHEAD = 1.0
"""Seconds by which the greedy seat comes before the honest ones run."""


@dataclass
class Tally:
    """The learners' runs, the seconds of their pages, and their failures."""

    runs: list[Ran] = field(default_factory=list)
    pages: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def seconds(self) -> list[float]:
        """The seconds of the runs that were accepted, sorted."""
        return sorted(run.seconds for run in self.runs if run.refused is None)

    def line(self, name: str) -> str:
        """The tally as it is printed."""
        took, refused = self.seconds, Counter(run.refused for run in self.runs if run.refused)
        if not took:
            return f"{name:22} no run ended; refused: {dict(refused)}; failed: {dict(self.failures)}"
        cells = "".join(f"{quantile(took, part):8.2f}" for part in (0.5, 0.95, 1.0))
        pages = f"{quantile(sorted(self.pages), 0.5):8.2f}{quantile(sorted(self.pages), 0.95):8.2f}"
        return f"{name:22}{len(took):6}{cells}{pages}   refused: {dict(refused)}; failed: {dict(self.failures)}"


HEAD = f"{'seconds':22}{'runs':>6}{'p50':>8}{'p95':>8}{'most':>8}{'page':>8}{'p95':>8}"


def quantile(values: Sequence[float], part: float) -> float:
    """Return the value below which ``part`` of the sorted values lie; 0 without values."""
    return values[min(len(values) - 1, int(part * len(values)))] if values else 0.0


@dataclass(frozen=True)
class Task:
    """A lesson's command on its solution, with a source that the server has never seen."""

    lesson: Lesson
    command: str

    def files(self) -> dict[str, str]:
        """Return the files to post."""
        files = {path: self.lesson.solution[path] for path in self.lesson.editable}
        files["src/main.rs"] += f"\n#[allow(dead_code)]\nfn unique_{time.time_ns()}() {{}}\n"
        return files


async def learn(url: str, task: Task, until: float, think: float, rng: random.Random, tally: Tally) -> None:
    """Be one learner until the deadline: load the course and the lesson, then think and run, again and again."""
    async with Browser(url) as browser:
        await anyio.sleep(rng.uniform(0, think))
        try:
            for path in ("/", task.lesson.address):
                tally.pages.append(await browser.open(path))
            while True:
                tally.runs.append(await browser.run(task.lesson.address, task.command, task.files()))
                await anyio.sleep(rng.uniform(0.5, 1.5) * think)
                if time.perf_counter() >= until:
                    return
        except httpx.HTTPError as error:
            tally.failures[repr(error)] += 1


async def seats(url: str, task: Task, count: int, seconds: float, think: float) -> Tally:
    """Load the server with ``count`` learners for so long; runs that were posted are followed to their ends."""
    tally = Tally()
    until = time.perf_counter() + seconds
    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(learn, url, task, until, think, random.Random(number), tally)  # noqa: S311 - decides how long a learner thinks
    return tally


async def greedy(url: str, lesson: Lesson) -> None:
    """Be one seat that keeps endless builds and programs in the queue, until cancelled."""
    async with Browser(url) as browser, anyio.create_task_group() as group:
        await browser.open(lesson.address)
        for command, source in ENDLESS * _TIMES:
            group.start_soon(_again, browser, lesson, command, source)


async def _again(browser: Browser, lesson: Lesson, command: str, source: str) -> None:
    while True:
        try:
            ran = await browser.run(lesson.address, command, {"src/main.rs": source})
        except httpx.ReadError:  # the server closed a connection that had been idle, as a browser would notice, too
            continue
        await anyio.sleep(_PAUSE if ran.refused else 0)


async def beside(url: str, task: Task, std: Lesson, seconds: float, think: float) -> tuple[Tally, Tally]:
    """Return the tallies of ten honest seats without and with a greedy one.

    The honest ones are there first: an owner that is alone may use every slot.
    """
    without = await seats(url, task, _HONEST, seconds, think)
    async with anyio.create_task_group() as group:
        group.start_soon(greedy, url, std)
        await anyio.sleep(_AHEAD)
        tally = await seats(url, task, _HONEST, seconds, think)
        group.cancel_scope.cancel()
    return without, tally


def load(seconds: float, count: int, think: float) -> bool:
    """Measure and print; return True if no bound was exceeded."""
    std, _, bare = cases()
    task = Task(bare.lesson, bare.command)
    print(f"{os.cpu_count()} processors; {task.lesson.slug}: {task.command}\n{HEAD}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o711)
        with serving(folder / "server", variables={"PLAYGROUND_SEAT_RUNS": "1000/minute"}) as (server, pid):
            url = f"http://{server.host}:{server.port}"
            before, own = settled(pid), time.process_time()
            tally = anyio.run(seats, url, task, count, seconds, THINK)
            own = time.process_time() - own
            print(tally.line(f"{count} seats"), flush=True)
            used = settled(pid).since(before, max(1, len(tally.seconds)))
            print(f"processor time of a run with its share of pages, ms: {used.line()}")
            print(f"processor time of this load generator: {100 * own / seconds:.0f} % of one processor", flush=True)
            without, beside_greedy = anyio.run(beside, url, task, std.lesson, seconds / 2, think)
    print(without.line(f"{_HONEST} seats"))
    print(beside_greedy.line("beside a greedy seat"))
    p95 = quantile(tally.seconds, 0.95)
    times = quantile(beside_greedy.seconds, 0.95) / max(0.001, quantile(without.seconds, 0.95))
    print(f"bounds: p95 {p95:.2f} s of {MOST_SECONDS:g}; beside a greedy seat {times:.2f} times of {MOST_TIMES:g}")
    failures = tally.failures + without.failures + beside_greedy.failures
    return p95 <= MOST_SECONDS and times <= MOST_TIMES and not failures


def main() -> None:
    """Load a server for the seconds in the arguments."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    count = int(sys.argv[2]) if len(sys.argv) > 2 else SEATS
    think = float(sys.argv[3]) if len(sys.argv) > 3 else HONEST_THINK
    sys.exit(0 if load(seconds, count, think) else 1)


if __name__ == "__main__":
    main()
