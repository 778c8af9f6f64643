"""The sharing out of the tests among processes: its units, its order, quiet tests, ports, and skips in CI."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.parallel import QUIET, unit
from tests.support.ports import free_port

ROOT = Path(__file__).parent.parent
TESTS = """
import os, pathlib, time
import pytest

here = pathlib.Path(__file__).parent

@pytest.mark.parametrize("number", range(3))
def test_loud(number):
    (here / f"busy-{os.getpid()}").touch()
    time.sleep(0.2)
    assert not (here / "quiet").exists()
    (here / f"busy-{os.getpid()}").unlink()
"""
QUIET_TESTS = """
@pytest.mark.quiet
def test_quiet():
    (here / "quiet").touch()
    time.sleep(0.3)
    assert not list(here.glob("busy-*"))
    (here / "quiet").unlink()
"""


def test_a_unit_is_a_file_or_all_attacks_at_a_level_or_all_quiet_tests() -> None:
    quiet = {"tests/test_card.py::test_b", "tests/attacks/test_streams.py::test_c[landlock]"}
    assert unit("tests/test_card.py::test_a[x::y]", quiet) == "tests/test_card.py"
    assert unit("tests/test_card.py::test_a[landlock]", quiet) == "tests/test_card.py"
    assert unit("tests/attacks/test_table.py::test_a[x]", quiet) == "tests/attacks/test_table.py"
    assert unit("tests/attacks/test_usage.py::test_a[landlock-x]", quiet) == "tests/attacks/test_usage.py"
    for name in (
        "test_streams.py::test_a[landlock]",
        "test_runs.py::test_b[landlock-b[c]",
        "test_a.py::test_c[landlock-d]",
    ):
        assert unit(f"tests/attacks/{name}", quiet) == "attacks at landlock"
    assert {unit(nodeid, quiet) for nodeid in quiet} == {QUIET}


def run(folder: Path, **more: str) -> tuple[int, str]:
    """Run the folder's tests in two processes."""
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.parallel", "-n", "2", "-v"]
    command += ["-p", "no:cacheprovider", "--import-mode=importlib", "-c", str(folder / "pytest.ini"), str(folder)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST") and name != "CI"}
    env |= more | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "xdist.plugin"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300)
    return done.returncode, done.stdout + done.stderr


def test_a_quiet_test_runs_alone_and_a_skip_fails_in_ci(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = quiet\n")
    for name in ("a", "b"):
        (tmp_path / f"test_{name}.py").write_text(TESTS + QUIET_TESTS)
    code, said = run(tmp_path, CI="true")
    assert code == 0, said
    ended = re.findall(r"PASSED (test_\w+\.py::test_(?:loud|quiet))", said)
    assert [name.endswith("quiet") for name in ended] == [False] * 6 + [True] * 2, "quiet tests come last"
    assert re.search(r"=+ 8 passed.* in [\d.]+s =+", said), "the line that tools/two-commands reads"
    (tmp_path / "test_c.py").write_text("import pytest\ndef test_c(): pytest.skip('no machine')\n")
    code, said = run(tmp_path, CI="true")
    assert code == 1, said
    assert "Skipped in CI, which is not allowed: test_c.py::test_c" in said
    assert re.search(r"8 passed, 1 skipped.* in [\d.]+s", said)


def test_no_connection_and_no_other_test_process_takes_a_free_port() -> None:
    given = {free_port() for _ in range(3)}
    code = "from tests.support.ports import free_port; print(free_port())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert len({*given, int(done.stdout)}) == 4
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(*given, int(done.stdout)) < lowest
