"""The wheel, installed into an empty environment without the checkout, is a working playground."""

import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from app import __version__

ROOT = Path(__file__).resolve().parent.parent
_QUIETLY = ("--disable-pip-version-check", "--quiet")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that the users of runs can pass."""
    with tempfile.TemporaryDirectory(prefix="playground-test-") as name:
        os.chmod(name, 0o711)
        yield Path(name).resolve()


@pytest.fixture(scope="module")
def pip(folder: Path) -> tuple[str | Path, ...]:
    """The command that runs pip; an environment that uv has made lacks it."""
    if find_spec("pip"):
        return (sys.executable, "-m", "pip")
    venv.create(folder / "pip", with_pip=True)
    return (folder / "pip/bin/python", "-m", "pip", "--python", sys.executable)


@pytest.fixture(scope="module")
def playground(folder: Path, pip: tuple[str | Path, ...]) -> Path:
    """The command of an environment that holds the wheel and its dependencies, and nothing else."""
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    subprocess.run([*pip, *_QUIETLY, *build, ROOT], check=True)
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "env")
    constraints = ROOT / ".venv" / "constraints.txt"
    locked = ("--constraint", constraints) if constraints.exists() else ()  # only pip needs it
    python = folder / "env/bin/python"
    subprocess.run([*pip[:3], *_QUIETLY, "--python", python, "install", "--no-compile", *locked, wheel], check=True)
    return folder / "env/bin/playground"


def variables(folder: Path) -> dict[str, str]:
    own = {"PLAYGROUND_DATA_DIR": str(folder / "data"), "PLAYGROUND_SCRATCH_DIR": str(folder / "scratch")}
    return {name: text for name, text in os.environ.items() if name != "PYTHONPATH"} | own


def test_a_lesson_runs_without_the_checkout(playground: Path, folder: Path) -> None:
    def told(*words: str) -> str:
        done = subprocess.run(
            [playground, *words], cwd=folder, env=variables(folder), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert told("--version") == f"playground {__version__}\n"
    assert "The goal is reached." in told("try", "hello-std")


def test_pages_and_their_files_are_served_without_the_checkout(playground: Path, folder: Path) -> None:
    command = [str(playground), "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, env=variables(folder), stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            [url] = re.findall(r"http://\S+[^/\s]", server.stdout.readline())
            page = httpx.get(f"{url}/lessons/hello-std", timeout=30).text
            files = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
            assert len(files) > 3
            assert [path for path in files if httpx.get(url + path, timeout=30).status_code != 200] == []
        finally:
            server.terminate()
        server.wait(timeout=10)
