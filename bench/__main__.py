"""Compare a run through the playground with raw cargo, interleaved: ``python -m bench [ROUNDS]``.

Raw: ``cargo build`` in one reused project, each time with a new source.
Floor: the same in a fresh, seeded folder, in a run's sandbox and on the file system of runs, without a server.
Ours: the same source and command posted to a real server, until the verdict arrives over the event stream.
All use the same toolchain. Prints medians, and the ratio round by round. In the cold rounds, another compiler builds
another crate before each of the three, so that the caches are as cold as in real use.
"""

import http.client
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio

from app.settings import Settings
from app.toolchain import discover
from bench.boot import boots
from bench.cards import cards
from bench.common import Case, beside_runs, cases, ours, serving, stages
from bench.engine import engine
from bench.floor import Floor
from bench.processes import Parts, memory, settled
from bench.raw import Raw
from bench.repeats import repeats
from bench.steps import steps
from bench.throughput import throughput

ROUNDS = 30
_WARM_UP = 2


@dataclass
class Row:
    """The measurements of one case: the seconds of each round, and the milliseconds of processor time of a run."""

    name: str
    raw: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    raw_cpu: list[float] = field(default_factory=list)
    floor_cpu: list[float] = field(default_factory=list)
    cost: Parts = field(default_factory=Parts)

    def line(self) -> str:
        """The times as they are printed: milliseconds, and the ratios of the rounds."""
        found = ratios(self.ours, self.raw)
        spread = f"({found[len(found) // 10]:.2f}-{found[-1 - len(found) // 10]:.2f})"
        times = (self.raw, self.floor, self.ours, self.first)
        cells = "".join(f"{1000 * statistics.median(values):8.1f}" for values in times)
        of_floor = statistics.median(ratios(self.ours, self.floor))
        return f"{self.name:34}{cells}{statistics.median(found):8.2f} {spread}{of_floor:8.2f}"

    def costs(self) -> str:
        """The processor time as it is printed: milliseconds, and the ratios of the means."""
        raw, floor = 1000 * statistics.mean(self.raw_cpu), 1000 * statistics.mean(self.floor_cpu)
        ratio, of_floor = self.cost.total / raw, self.cost.total / floor
        return f"{self.name:34}{raw:8.1f}{floor:8.1f}{ratio:8.2f}{of_floor:8.2f}  {self.cost.line()}"


def ratios(these: Sequence[float], those: Sequence[float]) -> list[float]:
    """Return the ratio of each round, sorted."""
    return sorted(this / that for this, that in zip(these, those, strict=True))


HEAD = f"{'median ms':34}{'raw':>8}{'floor':>8}{'ours':>8}{'first':>8}   ratio (10th-90th) of floor"
COSTS = f"{'processor time of a run, ms':34}{'raw':>8}{'floor':>8}   ratio of floor     ours"


def against_raw(folder: Path, rounds: int) -> None:
    """Compare a run at the strongest level with raw cargo and with the floor, warm and cold."""
    rows: list[Row] = []
    with serving(folder / "server") as (server, pid), ExitStack() as stack:
        at_rest = memory(pid)
        print(HEAD)
        for number, case in enumerate(cases()):
            raw = Raw(case, folder / f"raw-{number}")
            floor = stack.enter_context(Floor.of(case, stack.enter_context(beside_runs()) / "floor"))
            (folder / f"other-{number}").mkdir()
            other = _other(case, folder / f"other-{number}")
            for name, before in ((case.name, _nothing), (f"{case.name}, cold", other)):
                rows.append(measured(name, case, (raw, floor), (server, pid), rounds, before))
                print(rows[-1].line(), flush=True)
        print(f"\n{COSTS}")
        for row in rows:
            print(row.costs())
        print(f"server memory at rest: {at_rest.line()}")
        print(f"after these runs: {memory(pid).line()}", flush=True)
        timeline(server, rounds)


def measured(
    name: str,
    case: Case,
    others: tuple[Raw, Floor],
    served: tuple[http.client.HTTPConnection, int],
    rounds: int,
    before: Callable[[], object],
) -> Row:
    """Measure the three in random order in each round; ``before`` is called before each of them."""
    raw, floor = others
    server, pid = served
    row, started = Row(name), Parts()

    def run_ours() -> tuple[float, float]:
        server.close()  # the server may have closed an idle connection
        server.connect()
        return ours(server, case, case.source())

    sides: list[tuple[Callable[[], tuple[float, float]], tuple[list[float], list[float]]]] = [
        (lambda: raw.run(case.source()), (row.raw, row.raw_cpu)),
        (lambda: floor.run(case.source()), (row.floor, row.floor_cpu)),
        (run_ours, (row.ours, row.first)),
    ]
    for count in range(-_WARM_UP, rounds):
        if count == 0:
            started = settled(pid)
        for side, lists in random.sample(sides, len(sides)):
            before()
            found = side()
            if count >= 0:
                for values, value in zip(lists, found, strict=True):
                    values.append(value)
    row.cost = settled(pid).since(started, rounds)
    return row


def _nothing() -> None:
    """Do nothing before a warm round."""


def _other(case: Case, folder: Path) -> Callable[[], object]:
    """Return the build of another crate, by another compiler where there is one that can build it."""
    hello = cases()[0]
    found = [one for one in anyio.run(discover, Settings().cache_dir) if one.rustc != case.toolchain.rustc]
    for number, toolchain in enumerate((*found, hello.toolchain)):
        other = Raw(replace(hello, toolchain=toolchain), folder / str(number))
        with suppress(subprocess.CalledProcessError):
            other.run(hello.source())
            break
    return lambda: other.run(hello.source())


def timeline(server: http.client.HTTPConnection, rounds: int) -> None:
    """Print the median of each stage of a run."""
    server.close()
    case = cases()[1]
    found = [stages(server, case) for _ in range(rounds + _WARM_UP)][_WARM_UP:]
    cells = (f"{name} {statistics.median(each[name] for each in found):.1f}" for name in found[0])
    print(f"\nstages of {case.name}, median ms: {', '.join(cells)}", flush=True)


def levels(folder: Path, rounds: int) -> None:
    """Compare each isolation level with none on the bare-metal lesson, interleaved."""
    case = cases()[2]
    took: dict[str, list[float]] = {}
    with ExitStack() as stack:
        servers = {
            level: stack.enter_context(serving(folder / level, level))[0]
            for level in ("none", "landlock", "namespaces")
        }
        for server in servers.values():
            # While the others were opened, the first connections were idle for longer than a server keeps them.
            server.close()
        for count in range(-2, rounds):
            for level, server in servers.items():
                seconds, _ = ours(server, case, case.source())
                if count >= 0:
                    took.setdefault(level, []).append(seconds)
    print(f"\n{'isolation, ' + case.name:34}{'median ms':>10}{'added':>8}   ratio")
    for level, values in took.items():
        added = [1000 * (one - none) for one, none in zip(values, took["none"], strict=True)]
        ratios = [one / none for one, none in zip(values, took["none"], strict=True)]
        cells = (
            f"{1000 * statistics.median(values):10.1f}{statistics.median(added):8.1f}{statistics.median(ratios):8.2f}"
        )
        print(f"{level:34}{cells}")


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}, {rounds} rounds")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o711)
        against_raw(folder, rounds)
        throughput(folder / "throughput", cases()[1])
        engine(folder / "engine", rounds)
        repeats(folder / "repeats", rounds)
        levels(folder, rounds)
        cards(folder)
        steps(folder)
        boots(folder / "boot", rounds)


if __name__ == "__main__":
    main()
