"""Compare this tree with another commit, interleaved: ``python -m bench.against COMMIT [ROUNDS]``.

Both servers use the toolchains and targets of the same cache folder. Each round posts a run with a new source to both,
in random order. Prints the median of the differences within a round, and a run's processor time: that of the server's
whole process tree, including descendants that have ended. The exit code is 1 if a bound is exceeded.
"""

import http.client
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.common import Case, cases, ours, serving
from bench.processes import settled

ROUNDS = 100
MOST_MS = 2.0
MOST_TIMES = 1.03
_WARM_UP = 3
_HERE = Path(__file__).resolve().parent.parent
_SERVE = ("-P", "-c", "from app.cli import main; main()")


@dataclass(frozen=True)
class Tree:
    """A checkout of the program, and a Python with its packages."""

    root: Path
    python: Path

    @property
    def command(self) -> tuple[str, ...]:
        """The tree's own ``playground``."""
        return (str(self.python), *_SERVE)

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that make ``command`` import this tree rather than an installed one."""
        return {"PYTHONPATH": str(self.root)}


@dataclass(frozen=True)
class Row:
    """One case's measurements: the seconds of both trees in each round, and the processor time of all rounds."""

    name: str
    this: tuple[float, ...]
    other: tuple[float, ...]
    this_cpu: float
    other_cpu: float

    @property
    def differences(self) -> list[float]:
        """Return the differences in milliseconds, this tree minus the other, one per round, sorted."""
        return sorted(1000 * (this - other) for this, other in zip(self.this, self.other, strict=True))

    @property
    def median(self) -> float:
        """The median of the differences in milliseconds."""
        return statistics.median(self.differences)

    @property
    def times(self) -> float:
        """Return this tree's processor time as a multiple of the other's."""
        return self.this_cpu / self.other_cpu

    @property
    def within(self) -> bool:
        """Return True if neither bound is exceeded."""
        return self.median <= MOST_MS and self.times <= MOST_TIMES

    def line(self) -> str:
        """Format the row for printing."""
        tenth, found = len(self.this) // 10, self.differences
        spread = f"({found[tenth]:+.1f} to {found[-1 - tenth]:+.1f})"
        wall = (1000 * statistics.median(values) for values in (self.other, self.this))
        cpu = (1000 * seconds / len(self.this) for seconds in (self.other_cpu, self.this_cpu))
        cells = "".join(f"{value:9.1f}" for value in (*wall, self.median))
        verdict = "" if self.within else "   exceeded"
        return f"{self.name:26}{cells} {spread:18}{''.join(f'{value:9.1f}' for value in cpu)}{self.times:7.3f}{verdict}"


HEAD = (
    f"{'median ms':26}{'other':>9}{'this':>9}{'longer':>9} {'(10th to 90th)':18}{'CPU other':>9}{'this':>9}{'times':>7}"
)


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Tree]:
    """Check out the commit in a separate folder for the duration of the block.

    It uses this environment's packages if both have the same lock file, otherwise an environment of its own.
    """
    root = folder / "checkout"
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(root), commit], cwd=_HERE, check=True)
    try:
        python = Path(sys.executable)
        if (root / "uv.lock").read_bytes() != (_HERE / "uv.lock").read_bytes():
            subprocess.run(["bash", "tools/environment"], cwd=root, check=True)
            python = root / ".venv/bin/python"
        yield Tree(root, python)
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(root)], cwd=_HERE, check=True)


def imported(tree: Tree) -> Path:
    """Return the folder from which the tree's Python imports ``app``."""
    show = (str(tree.python), "-P", "-c", "import app; print(app.__file__)")
    told = subprocess.run(show, env=os.environ | tree.variables, check=True, capture_output=True, text=True).stdout
    return Path(told.strip()).parent.parent


@dataclass(frozen=True)
class MeasuredServer:
    """One of the two servers."""

    connection: http.client.HTTPConnection
    pid: int

    def run(self, case: Case) -> float:
        """Return the seconds of a run over a new connection. Older servers close idle ones after five seconds."""
        self.connection.close()
        self.connection.connect()
        return ours(self.connection, case, case.source())[0]


def measure(case: Case, this: MeasuredServer, other: MeasuredServer, rounds: int) -> Row:
    """Post the case to both servers, round by round."""
    took: dict[MeasuredServer, list[float]] = {this: [], other: []}
    for side in (this, other) * _WARM_UP:
        side.run(case)
    before = {side: settled(side.pid) for side in took}
    for _ in range(rounds):
        for side in random.sample([this, other], 2):
            took[side].append(side.run(case))
    used = {side: settled(side.pid).total - before[side].total for side in took}
    return Row(case.name, tuple(took[this]), tuple(took[other]), used[this], used[other])


def against(commit: str, rounds: int) -> bool:
    """Measure and print; return True if no bound was exceeded."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())).resolve()
        folder.chmod(0o711)
        trees = (Tree(_HERE, Path(sys.executable)), stack.enter_context(checked_out(commit, folder)))
        for tree in trees:
            assert imported(tree) == tree.root, f"app is imported from {imported(tree)}, not from {tree.root}"
        this, other = (
            MeasuredServer(*stack.enter_context(serving(folder / name, command=tree.command, variables=tree.variables)))
            for name, tree in zip(("this", "other"), trees, strict=True)
        )
        print(f"this tree against {commit}, {rounds} rounds, {os.cpu_count()} processors\n{HEAD}")
        rows = []
        for case in cases()[1:]:
            rows.append(measure(case, this, other, rounds))
            print(rows[-1].line(), flush=True)
    print(f"bounds: {MOST_MS:g} ms longer, {MOST_TIMES:g} times the processor time")
    return all(row.within for row in rows)


def main() -> None:
    """Compare with the commit named in the arguments."""
    if not 2 <= len(sys.argv) <= 3:
        sys.exit("usage: python -m bench.against COMMIT [ROUNDS]")
    rounds = int(sys.argv[2]) if len(sys.argv) == 3 else ROUNDS
    sys.exit(0 if against(sys.argv[1], rounds) else 1)


if __name__ == "__main__":
    main()
