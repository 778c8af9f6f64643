"""CI runs the contributors' commands, and a proof replaces its own row."""

import re
import runpy
import shutil
import subprocess
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
    recipe = subprocess.run(["make", "--dry-run", "format"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert recipe.stdout.endswith("tools/check-rust format\n")


def test_a_proof_replaces_its_own_row(tmp_path: Path) -> None:
    table = tmp_path / "page.md"
    table.write_text("a\n\n| where | date |\n|---|---|\n| here | old |\n| there | kept |\n\nb\n")
    runpy.run_path(str(ROOT / "tools/proofs.py"))["record"](table, "here", ["2026-01-02", "3 passed | 1 s"])
    assert table.read_text() == (
        "a\n\n| where | date |\n|---|---|\n| there | kept |\n| here | 2026-01-02 | 3 passed ¦ 1 s |\n\nb\n"
    )
