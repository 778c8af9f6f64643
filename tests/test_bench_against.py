"""The comparison with another commit: its statistics."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.against import Row, Tree, imported

ROOT = Path(__file__).resolve().parent.parent


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
