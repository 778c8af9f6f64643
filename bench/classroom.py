"""Load a class, and measure how soon its people see each other.

``python -m bench.classroom [SECONDS] [SEATS] [HOSTILE]``: a real ``playground class`` has that many simulated learners
(100), the instructor's page and the wall. They work for SECONDS (600); in the second half, HOSTILE seats (10) do their
worst among them. Meanwhile some learners raise and lower their hand, each time until the instructor's page shows it,
and the instructor writes to learners, each time until their page shows it. The exit code is 1 when a bound is exceeded,
when an honest request failed or was refused, or when the server keeps something afterwards.
"""

import itertools
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import httpx

from app.cli.learner import Browser, Ran, SimulatedLearner
from app.course import Lesson, load_shelf
from app.settings import Settings
from bench.common import require_compilers
from bench.load import quantile
from bench.pages import PATIENCE, InstructorPages, News, Strips
from bench.soak import Server
from bench.vandal import vandalize

SECONDS, SEATS, HOSTILE = 600.0, 100, 10
THINKS = (10.0, 40.0)
"""Seconds between two actions of a learner, at least and at most."""
MOST_SECONDS = 2.0
"""The bound for the 95th percentile of an update."""
MOST_TIMES = 2.0
"""The bound for the 95th percentile of a run beside hostile seats, as a multiple of that without."""
MOST_MEBIBYTES = 200
_COMING = 60.0
"""The most seconds within which all learners come."""
_FEWEST = 2
_RAISING = 3
"""Learners who only raise and lower their hand."""
_KEPT = ("files of runs", "folders of runs")
"""Artifacts of ended runs, which are kept for an hour."""


@dataclass
class Phase:
    """One half of a class: its runs, and the seconds until the instructor's page or a learner's showed something."""

    runs: list[Ran] = field(default_factory=list)
    instructor: list[float] = field(default_factory=list)
    learners: list[float] = field(default_factory=list)

    @property
    def fewest(self) -> int:
        """The number of runs, of updates of the instructor's page or of learners' pages, whichever is smallest."""
        return min(len(self.runs), len(self.instructor), len(self.learners))

    @property
    def run_seconds(self) -> list[float]:
        """The seconds of the runs that were accepted, sorted."""
        return sorted(run.seconds for run in self.runs if run.refused is None)

    @property
    def update(self) -> float:
        """The 95th percentile of the updates, on the side where it is longer."""
        return max(quantile(sorted(each), 0.95) for each in (self.instructor, self.learners))

    def line(self, name: str) -> str:
        """The phase as it is printed."""
        cells = (
            f"{len(each):6}{quantile(each, 0.5):7.2f}{quantile(each, 0.95):7.2f}"
            for each in (self.run_seconds, sorted(self.instructor), sorted(self.learners))
        )
        return f"{name:22}{'  '.join(cells)}"


@dataclass(frozen=True)
class Held:
    """A class that was held: both halves, the server's most memory in mebibytes, and what it kept afterwards."""

    quiet: Phase
    beside: Phase
    largest: int
    mebibytes: float
    failures: Mapping[str, int]
    left: Mapping[str, str]

    @property
    def times(self) -> float:
        """How many times longer a run took beside hostile seats, at the 95th percentile."""
        return quantile(self.beside.run_seconds, 0.95) / max(0.001, quantile(self.quiet.run_seconds, 0.95))

    @property
    def is_good(self) -> bool:
        """True if no bound was exceeded, nothing failed and nothing is left."""
        update = max(self.quiet.update, self.beside.update)
        bounded = update <= MOST_SECONDS and self.times <= MOST_TIMES and self.mebibytes <= MOST_MEBIBYTES
        return bounded and not (self.failures or self.left)


class ClassLoad:
    """A class under load. ``phase`` collects what is measured now, ``failures`` what failed, by its error."""

    def __init__(self, url: str, lessons: Sequence[Lesson], thinks: tuple[float, float]) -> None:
        self.phase = Phase()
        self.failures: Counter[str] = Counter()
        self.instructor = InstructorPages(url)
        self._url, self._lessons, self._thinks = url, lessons, thinks
        self._strips = Strips()
        self._measured = News()
        self._learners: dict[str, SimulatedLearner] = {}

    async def hold(self, key: str, seconds: float, seats: int, hostile: int) -> tuple[Phase, Phase]:
        """Hold the class; return both halves."""
        async with self.instructor, anyio.create_task_group() as room:
            await self.instructor.post("/class/enter", key=key)
            for path in ("/class", "/class/wall"):
                room.start_soon(self._counted, partial(self.instructor.follow, path))
            for number in range(seats):
                delay = min(_COMING, seconds / 5) * number / seats
                room.start_soon(self._counted, partial(self._attend, number, delay))
            for number in range(seats, seats + _RAISING):
                room.start_soon(self._counted, partial(self._raise_hands, number))
            room.start_soon(self._counted, self._write)
            await self._last(seconds / 2)
            quiet, self.phase = self.phase, Phase()
            for number in range(hostile):
                room.start_soon(vandalize, self._url, number, self._lessons[0])
            await self._last(seconds / 2)
            room.cancel_scope.cancel()
        self.failures["strip"] += sum(learner.browser.failed for learner in self._learners.values())
        return quiet, self.phase

    async def _last(self, seconds: float) -> None:
        """Wait so long, and until a few runs and updates have been measured, however slow the machine is."""
        await anyio.sleep(seconds)
        phase = self.phase
        try:
            await self._measured.until(lambda: phase.fewest >= _FEWEST)
        except TimeoutError:
            self.failures["too little was measured"] += 1

    def _note(self, samples: list[float], began: float) -> None:
        samples.append(time.perf_counter() - began)
        self._measured.changed()

    async def _counted(self, work: Callable[[], Awaitable[None]]) -> None:
        """Count what fails; the others go on."""
        try:
            await work()
        except (httpx.HTTPError, TimeoutError, EOFError) as error:
            self.failures[repr(error)] += 1

    async def _attend(self, number: int, delay: float) -> None:
        """Come after a delay, and be a learner until cancelled."""
        await anyio.sleep(delay)
        async with Browser(self._url, address_of(number)) as browser:
            learner = SimulatedLearner(
                browser, number, (number % 5 + 1) / 6, self._thinks, self._ran, lambda strip: self._see(learner, strip)
            )
            await learner.join()
            await learner.live(self._lessons)

    def _ran(self, ran: Ran) -> None:
        self.phase.runs.append(ran)
        self._measured.changed()
        if ran.refused:
            self.failures[f"a run was refused: {ran.refused}"] += 1

    def _see(self, learner: SimulatedLearner, strip: str) -> None:
        self._learners[learner.name] = learner
        self._strips.see(learner.name, strip)

    async def _raise_hands(self, number: int) -> None:
        """Raise and lower a hand until cancelled, and measure until the instructor's page shows it."""
        lesson, instructor = self._lessons[0], self.instructor
        async with Browser(self._url, address_of(number)) as browser:
            learner = SimulatedLearner(browser, number)
            await learner.join()
            await learner.open(lesson)
            await instructor.until(lambda: learner.name in instructor.numbers)
            seat = instructor.numbers[learner.name]
            for raised in itertools.cycle((True, False)):
                began = time.perf_counter()
                await learner.hand(lesson, raised=raised)
                await instructor.until(partial(instructor.sees_hand, seat, raised=raised))
                self._note(self.phase.instructor, began)
                await anyio.sleep(2)

    async def _write(self) -> None:
        """Write to one learner after the other until cancelled, and measure until their page shows it."""
        chance = random.Random(0)  # noqa: S311 - decides who is written to
        await self._strips.until(lambda: any(name in self.instructor.numbers for name in self._learners))
        for number in itertools.count():
            known = [learner for name, learner in self._learners.items() if name in self.instructor.numbers]
            await self._tell(chance.choice(known), f"Note {number}.")
            await anyio.sleep(0.5)

    async def _tell(self, learner: SimulatedLearner, text: str) -> None:
        step, strips = self._lessons[0].key, self._strips.of
        way = f"/class/members/{self.instructor.numbers[learner.name]}/send"
        began = time.perf_counter()
        await self.instructor.post(way, step=step, kind="sentence", text=text)
        await self._strips.until(lambda: text in strips[learner.name])
        self._note(self.phase.learners, began)
        for number in re.findall(r"/class/words/(\d+)", strips[learner.name]):
            await learner.browser.post(f"/class/words/{number}", {"at": step})


def address_of(number: int) -> str:
    """Return the address that a learner has in the room's network."""
    return f"10.0.{number // 250}.{number % 250 + 1}"


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Server, str]]:
    """Hold a real class; yield its server and the instructor's key."""
    folder.chmod(0o711)  # the users of runs must be able to enter
    (folder / "tmp").mkdir()
    names = {"PLAYGROUND_DATA_DIR": "data", "PLAYGROUND_SCRATCH_DIR": "scratch", "TMPDIR": "tmp"}
    env = os.environ | {name: str(folder / each) for name, each in names.items()}
    env["PLAYGROUND_READY_SECONDS"] = "2"  # sandboxes made ahead count as left until they are given up
    env["PLAYGROUND_KEEP_ANSWERS"] = "0"  # learners type texts of their own; these run the lessons' own ones
    command = [str(Path(sys.executable).with_name("playground")), "class", "--port", "0", "--address", "127.0.0.1"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            found = next((each for line in lines if (each := re.search(r"http://(\S+)/class#(\S+)", line))), None)
            if found is None:
                sys.exit("The class did not begin; playground doctor says why.")
            yield Server(process, folder, found[1]), found[2]
        finally:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)


def left(server: Server, before: Mapping[str, int]) -> dict[str, str]:
    """Return what the server uses besides what it used before, once it has had time to settle."""
    until = time.monotonic() + PATIENCE
    while True:
        after = server.left()
        more = {name: f"{was} -> {after[name]}" for name, was in before.items() if after[name] > was}
        if not more or time.monotonic() > until:
            return more
        time.sleep(1)


def measure(seconds: float, seats: int, hostile: int, thinks: tuple[float, float] = THINKS) -> Held:
    """Hold a class and measure it."""
    lessons = [lesson for lesson in load_shelf(Settings().lessons_dir).default.lessons if not lesson.needs]
    samples: list[int] = []

    async def sample(server: Server) -> None:
        while True:
            samples.append(server.resident())
            await anyio.sleep(1)

    async def hold(server: Server, key: str) -> tuple[ClassLoad, Phase, Phase, dict[str, int]]:
        url = f"http://{server.address}"
        async with Browser(url) as first:  # the server starts its readers of artifacts with the first run
            await first.run(lessons[0].address, lessons[0].commands[0], lessons[0].editable_files)
        await anyio.sleep(2)
        before = {name: number for name, number in server.left().items() if name not in _KEPT}
        room = ClassLoad(url, lessons, thinks)
        async with anyio.create_task_group() as group:
            group.start_soon(sample, server)
            quiet, beside = await room.hold(key, seconds, seats, hostile)
            group.cancel_scope.cancel()
        return room, quiet, beside, before

    with tempfile.TemporaryDirectory(prefix="class-") as name, serving(Path(name).resolve()) as (server, key):
        room, quiet, beside, before = anyio.run(hold, server, key)
        more = left(server, before)
    return Held(quiet, beside, room.instructor.largest, max(samples) / 1024, +room.failures, more)


def report(held: Held, seats: int, hostile: int) -> None:
    """Print a class that was held; the last line has the bounds."""
    head = f"{'n':>6}{'p50':>7}{'p95':>7}"
    print(f"{'seconds until':22}{'a run ends':>20}  {'the instructor sees':>20}  {'a learner is told':>20}")
    print(f"{'':22}{'  '.join([head] * 3)}")
    print(held.quiet.line(f"{seats} learners"))
    print(held.beside.line(f"beside {hostile} hostile"))
    failed, kept = dict(held.failures) or "nothing", dict(held.left) or "nothing"
    print(f"largest message to the instructor's page: {held.largest} bytes; failed: {failed}")
    print(
        f"bounds: an update {held.quiet.update:.2f} s, beside hostile seats {held.beside.update:.2f} s of "
        f"{MOST_SECONDS:g}; a run there {held.times:.2f} times as long of {MOST_TIMES:g}; "
        f"{held.mebibytes:.0f} MiB of {MOST_MEBIBYTES}; left: {kept}"
    )


def main() -> None:
    """Load a class for the seconds in the arguments."""
    require_compilers()
    given = [float(word) for word in sys.argv[1:]]
    seconds = given[0] if given else SECONDS
    seats, hostile = (int(each) for each in (*given[1:], *(SEATS, HOSTILE)[len(given[1:]) :]))
    held = measure(seconds, seats, hostile)
    report(held, seats, hostile)
    sys.exit(0 if held.is_good else 1)


if __name__ == "__main__":
    main()
