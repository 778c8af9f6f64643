"""The comparison with another commit: its statistics, and the processor time of a process tree."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.against import Row, Tree, imported, processor_seconds, settled, tree_seconds

ROOT = Path(__file__).resolve().parent.parent
BURN = "import time\nwhile time.process_time() < {}: pass\n"


def stat(pid: int, parent: int, *used: int, name: str = "x") -> str:
    """Return a line of /proc/PID/stat with these ticks: user, system, and both for reaped children."""
    before = f"{pid} ({name}) S {parent} 1 1 0 -1 4194304 10 20 30 40"
    return f"{before} {' '.join(map(str, used))} 20 0 1 0 100 0 0 18446744073709551615"


def test_a_tree_is_a_process_with_its_descendants_and_their_reaped_children() -> None:
    stats = [
        stat(10, 1, 100, 20, 3, 4),
        stat(30, 20, 5, 0, 0, 1, name="a) S 1 (b"),  # listed before its parent, with a misleading name
        stat(20, 10, 10, 0, 0, 0),
        stat(11, 1, 1000, 1000, 1000, 1000),
        stat(40, 11, 1000, 0, 0, 0),
    ]
    assert tree_seconds(stats, 10, 100) == pytest.approx(1.43)
    assert tree_seconds(stats, 99, 100) == 0


def test_the_time_of_real_children_is_counted_once_before_and_after_their_end() -> None:
    child = BURN.format(0.3)
    parent = (
        f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {child!r}])\nprint('done', flush=True)\n"
    )
    begun = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", f"{parent}input()"], stdout=-1, stdin=-1, text=True) as process:
        seen = 0.0
        while time.monotonic() - begun < 30 and seen < 0.15:
            seen = processor_seconds(process.pid)
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        ended = processor_seconds(process.pid)
        process.kill()
    assert 0.15 <= seen <= ended
    assert 0.28 <= ended < 1.5


def test_a_tree_has_settled_when_it_has_nothing_left_to_do() -> None:
    with subprocess.Popen([sys.executable, "-c", f"{BURN.format(0.8)}input()"], stdin=subprocess.PIPE) as process:
        used = settled(process.pid)
        process.kill()
    assert 0.75 <= used < 2, "counted in hundredths, of each process rounded down"


def row(this: list[float], other: list[float], cpu: tuple[float, float] = (1.0, 1.0)) -> Row:
    return Row("case", tuple(this), tuple(other), *cpu)


def test_differences_are_those_of_each_round() -> None:
    found = row([0.101, 0.500, 0.099, 0.103, 0.201], [0.100, 0.100, 0.100, 0.100, 0.200])
    assert found.differences == pytest.approx([-1, 1, 1, 3, 400])
    assert found.median == pytest.approx(1)
    many = row([0.1 + number / 1000 for number in range(20)], [0.1] * 20)
    assert "(+2.0 to +17.0)" in many.line()


@pytest.mark.parametrize(
    ("longer", "cpu", "within"),
    [
        (0.0019, (1.02, 1.0), True),
        (0.0021, (1.0, 1.0), False),
        (-0.5, (1.04, 1.0), False),
        (-0.5, (0.5, 1.0), True),
    ],
)
def test_an_exceeded_bound_is_reported(longer: float, cpu: tuple[float, float], within: bool) -> None:
    found = row([0.6 + longer] * 3, [0.6] * 3, cpu)
    assert found.within is within
    assert ("exceeded" in found.line()) is not within


def test_a_tree_is_imported_from_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/__init__.py").write_text("")
    here = Path(sys.executable)
    assert imported(Tree(tmp_path, here)) == tmp_path, "before the one that is installed"
    assert imported(Tree(ROOT, here)) == ROOT


def test_an_unknown_commit_is_refused_and_leaves_nothing() -> None:
    before = subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True, check=True).stdout
    command = [sys.executable, "-m", "bench.against", "no-such-commit", "1"]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ)
    assert refused.returncode != 0
    assert "no-such-commit" in refused.stderr
    assert subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True, check=True).stdout == before
