"""CI runs the contributors' commands, these say what they do and lack, and a proof replaces its own row."""

import os
import pty
import re
import runpy
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHELL = ("set", "cd", "work=$(mktemp", "chmod", "trap", "export", "unset", "step()", "step")
"""The first words of lines that prepare folders or print progress."""


def test_ci_runs_the_contributors_commands_and_nothing_before_them() -> None:
    lines = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith("#")]
    commands = [line for line in lines if line.split()[0] not in SHELL]
    assert commands == ["make check", "make test"]
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    assert all(f"`{command}`" in guide for command in commands)


def test_every_make_target_of_the_docs_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    named = {name for page in pages for name in re.findall(r"`make ([a-z-]+)", page.read_text())}
    assert named <= targets


def test_make_run_passes_host_and_port_on() -> None:
    command = ["make", "--dry-run", "run", "HOST=192.168.1.5", "PORT=8123"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "playground serve --port 8123 --host 192.168.1.5" in said


FAKE_PYTHON = """#!/bin/sh
case "$*" in
*ensurepip*) ;;
"-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
*"pip install"*)
    echo "Collecting attrs==25.3.0 (from -r extra.txt)"
    echo "  Downloading attrs-25.3.0.whl (63 kB)"
    echo "Installing collected packages: attrs"
    [ -z "$FULL" ] || { echo "ERROR: No space left on device"; exit 1; } ;;
*) exec "$REAL" "$@" ;;
esac
"""


class Checkout:
    """The script that makes .venv, in a folder with a Python whose pip only prints what a real one would."""

    USES = ("cat", "cp", "dirname", "id", "ls", "mkdir", "mktemp", "rm", "tail", "tee", "touch")
    FIRST = "First start: about a minute."

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("bin", "tools", "tmp"):
            (folder / name).mkdir()
        for name in self.USES:
            (folder / "bin" / name).symlink_to(str(shutil.which(name)))
        shutil.copy(ROOT / "tools/environment", folder / "tools")
        (folder / "uv.lock").write_text("package = []\n")
        python = folder / "bin/python3"
        python.write_text(FAKE_PYTHON)
        python.chmod(0o755)

    def make(self, out: int, **variables: str) -> subprocess.CompletedProcess[str]:
        """Make .venv, with what the script says in ``out``."""
        env = {"PATH": str(self.folder / "bin"), "TMPDIR": str(self.folder / "tmp"), "REAL": sys.executable}
        command = [str(shutil.which("bash")), "tools/environment"]
        return subprocess.run(
            command, cwd=self.folder, env=env | variables, stdout=out, stderr=subprocess.PIPE, text=True, check=False
        )

    def said(self, **variables: str) -> str:
        """Make .venv, and return what the script says to a file."""
        with (self.folder / "said").open("w") as out:
            done = self.make(out.fileno(), **variables)
        assert (done.returncode, done.stderr) == (0, "")
        return (self.folder / "said").read_text()


def test_the_first_start_says_how_long_it_takes_and_moves_one_line_on_a_terminal(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    ours, theirs = pty.openpty()
    done = checkout.make(theirs)
    os.close(theirs)
    shown = ""
    with open(ours, "rb", buffering=0) as screen, suppress(OSError):  # the end of a terminal is an error
        while data := screen.read(4096):
            shown += data.decode()
    shown = shown.replace("\r\n", "\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert shown.startswith(f"==> {checkout.FIRST}")
    moving = re.findall(r"\r\x1b\[K  ([^\r]*), \d+ s(?=\r)", shown)
    assert [line for line in dict.fromkeys(moving) if line != "making .venv"] == [
        "Collecting attrs==25.3.0",
        "Downloading attrs-25.3.0.whl",
        "Installing collected packages",
    ]
    assert shown.endswith("\r\x1b[K"), "the line is gone at the end"
    assert (tmp_path / ".venv/.run").exists()
    assert not list((tmp_path / "tmp").iterdir()), "the log is of no use any more"


def test_elsewhere_nothing_moves_and_v_shows_what_pip_prints(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    first = checkout.said()
    assert first.startswith(f"==> {checkout.FIRST}")
    assert "Installing the Python packages with pip into .venv (about 20 seconds; V=1" in first
    assert not {"\r", "\x1b"} & set(first)
    assert "Collecting" not in first
    later = checkout.said(V="1")
    assert checkout.FIRST not in later, "it is not the first start any more"
    assert "Collecting attrs==25.3.0 (from -r extra.txt)\n  Downloading attrs-25.3.0.whl (63 kB)\n" in later


def test_packages_that_cannot_be_installed_end_the_start_with_pips_last_lines(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    done = checkout.make(subprocess.DEVNULL, FULL="1")
    assert done.returncode == 1
    assert "ERROR: No space left on device\nThe Python packages could not be installed; " in done.stderr
    assert not (tmp_path / ".venv/.run").exists()
    [log] = (tmp_path / "tmp").iterdir()
    assert str(log) in done.stderr


@pytest.mark.parametrize(("arguments", "task"), [([], "checked"), (["format"], "formatted")])
@pytest.mark.parametrize(("ci", "code"), [({}, 0), ({"CI": "true"}, 1)], ids=["at a desk", "in CI"])
def test_rust_programs_are_left_alone_without_the_tools(
    arguments: list[str], task: str, ci: dict[str, str], code: int, tmp_path: Path
) -> None:
    (tmp_path / "dirname").symlink_to(str(shutil.which("dirname")))
    command = [str(ROOT / "tools/check-rust"), *arguments]
    done = subprocess.run(command, env={"PATH": str(tmp_path)} | ci, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")
    assert f"here, so the Rust programs are not {task}. rustup brings it" in done.stdout
    # `make test`, which may run this, has `make` below it name its folder.
    command = ["make", "--no-print-directory", "--dry-run", "format"]
    recipe = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert recipe.stdout.endswith("tools/check-rust format\n")


def test_a_proof_replaces_its_own_row(tmp_path: Path) -> None:
    table = tmp_path / "page.md"
    table.write_text("a\n\n| where | date |\n|---|---|\n| here | old |\n| there | kept |\n\nb\n")
    runpy.run_path(str(ROOT / "tools/proofs.py"))["record"](table, "here", ["2026-01-02", "3 passed | 1 s"])
    assert table.read_text() == (
        "a\n\n| where | date |\n|---|---|\n| there | kept |\n| here | 2026-01-02 | 3 passed ¦ 1 s |\n\nb\n"
    )
