"""Compare a run through the playground with raw cargo, interleaved: ``python -m bench [ROUNDS]``.

Raw: ``cargo build`` in one reused project, each time with a new source. Ours: the same source and command posted to a
real server, until the verdict arrives over the event stream. Both use the same toolchain. Prints medians, and the ratio
pair by pair.
"""

import http.client
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from app.toolchain import build_env
from bench.boot import boots
from bench.cards import cards
from bench.common import Case, cases, serving
from bench.steps import steps

ROUNDS = 30


@dataclass
class Row:
    """The measurements of one command: seconds of each round."""

    name: str
    raw: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)

    def line(self) -> str:
        """The row for printing: milliseconds, and the ratios of the pairs."""
        ratios = sorted(ours / raw for ours, raw in zip(self.ours, self.raw, strict=True))
        spread = f"{ratios[len(ratios) // 10]:.2f}-{ratios[-1 - len(ratios) // 10]:.2f}"
        cells = (f"{1000 * statistics.median(values):8.1f}" for values in (self.raw, self.ours, self.first))
        return f"{self.name:34}{''.join(cells)}   {statistics.median(ratios):5.2f}  ({spread})"


class Raw:
    """Raw cargo in a project that is reused."""

    def __init__(self, case: Case, folder: Path) -> None:
        folder.mkdir()
        self._case = case
        self._crate = folder / "crate"
        for path, text in case.lesson.solution.items():
            (self._crate / path).parent.mkdir(parents=True, exist_ok=True)
            (self._crate / path).write_text(text)
        (folder / "home").mkdir()
        self._env = build_env(case.toolchain, folder / "home")

    def run(self, source: str) -> float:
        """Return the seconds of one build."""
        (self._crate / "src/main.rs").write_text(source)
        command = [str(self._case.toolchain.cargo), *self._case.command.split()[1:]]
        began = time.perf_counter()
        subprocess.run(command, cwd=self._crate, env=self._env, check=True, capture_output=True)
        return time.perf_counter() - began


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


def resident(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1000


def against_raw(folder: Path, rounds: int) -> None:
    """Compare a run at the strongest level with raw cargo."""
    with serving(folder / "server") as (server, pid):
        at_rest = resident(pid)
        print(f"{'median ms':34}{'raw':>8}{'ours':>8}{'first':>8}   ratio  (10th-90th percentile)")
        for number, case in enumerate(cases()):
            raw = Raw(case, folder / str(number))
            row = Row(case.name)
            for count in range(-2, rounds):
                plain = raw.run(case.source())
                took, first = ours(server, case, case.source())
                if count >= 0:
                    row.raw.append(plain)
                    row.ours.append(took)
                    row.first.append(first)
            print(row.line(), flush=True)
        print(f"server memory: {at_rest:.0f} MB at rest, {resident(pid):.0f} MB after {3 * (rounds + 2)} runs")


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
        levels(folder, rounds)
        cards(folder)
        steps(folder)
        boots(folder / "boot", rounds)


if __name__ == "__main__":
    main()
