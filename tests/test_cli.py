"""The command line as a program: exit codes, one event per line, one sentence for bad use."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.course import Course, Lesson
from app.protocol.events import Artifact, Verdict, from_json
from app.toolchain import Toolchain
from tests.support.forked import run_forked

PROGRAM = str(Path(sys.executable).with_name("playground"))


def playground(*arguments: str, data: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return run_forked(*arguments, env=os.environ | {"PLAYGROUND_DATA_DIR": str(data)} | variables)


def installed(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    """Run the installed command, which has to import the program first."""
    env = os.environ | {"PLAYGROUND_DATA_DIR": str(data)}
    return subprocess.run([PROGRAM, *arguments], env=env, capture_output=True, text=True, check=False, timeout=120)


def solve(lesson: Lesson, folder: Path) -> str:
    for path, text in lesson.solution.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return str(folder)


def test_version(tmp_path: Path) -> None:
    assert installed("--version", data=tmp_path).stdout.startswith("playground 0.")


def test_a_start_misses_the_goal_and_a_solution_reaches_it(lessons: dict[str, Lesson], tmp_path: Path) -> None:
    missed = installed("try", "panic-handler", data=tmp_path)
    assert missed.returncode == 1
    assert "The goal is not reached." in missed.stdout
    reached = playground(
        "try", "panic-handler", "--dir", solve(lessons["panic-handler"], tmp_path / "s"), data=tmp_path
    )
    assert reached.returncode == 0
    assert "The goal is reached." in reached.stdout


def test_events_are_one_json_object_a_line(tmp_path: Path) -> None:
    done = playground("try", "hello-std", "--json", "--timing", data=tmp_path)
    assert [line.split()[0] for line in done.stderr.splitlines()][:4] == ["queue", "lay", "spawn", "process"]
    events = [from_json(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert isinstance(events[-1], Verdict)
    [artifact] = [event for event in events if isinstance(event, Artifact)]
    assert artifact.card
    assert artifact.card.keys() == {"sections", "symbols", "code", "calls", "unread"}
    assert artifact.card["code"]["symbol"] == "_start"


def test_field_cases_run_on_the_compiler_that_is_named(tmp_path: Path, toolchain: Toolchain) -> None:
    case = str(Path(__file__).parent / "field/brace-not-closed")
    done = playground("field", "--toolchain", toolchain.name, case, data=tmp_path)
    assert done.stdout == f"1 of 1 field cases got a right answer (1 on {toolchain.name})\n"


def test_commands_follow_each_other_on_what_was_built(tmp_path: Path) -> None:
    commands = ("--command", "cargo build", "--command", "readelf -h target/debug/blog_os")
    done = playground("try", "hello-std", *commands, data=tmp_path)
    assert done.returncode == 0
    assert "ELF64" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["try", "nothing"], "There is no lesson 'nothing'"),
        (["try", "hello-std", "--command", "xyzzy"], "a command line for cargo"),
        (["try", "hello-std", "--dir", "/nowhere"], "/nowhere is not a folder"),
        (["try", "hello-std", "--dir", "."], "holds none of the files"),
        (["try", "hello-std", "--toolchain", "0.1"], "There is no toolchain 0.1"),
        (["try", "hello-std", "--command", "nm target/debug/blog_os"], "no artifact to inspect"),
        (["setup", "--toolchain", "0.1"], "There is no toolchain 0.1 here"),
        (["try"], "Missing argument"),
        (["dance"], "No such command"),
        (["serve", "--port", "99999999"], "65535"),
    ],
)
def test_bad_use_ends_with_2_and_a_sentence(arguments: list[str], says: str, tmp_path: Path) -> None:
    env = os.environ | {"PLAYGROUND_DATA_DIR": str(tmp_path), "NO_COLOR": "1", "COLUMNS": "200"}
    done = run_forked(*arguments, env=env, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    done = playground("try", "hello-std", data=tmp_path, PLAYGROUND_MAX_RUNS="many")
    assert done.returncode == 2
    assert done.stderr == "PLAYGROUND_MAX_RUNS is 'many', but must be a whole number.\n"
    assert "Traceback" not in done.stderr


def test_lessons_check_proves_one_lesson(tmp_path: Path) -> None:
    done = playground("lessons", "check", "--json", "no-main", data=tmp_path)
    proofs = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert {proof["lesson"] for proof in proofs} == {"no-main"}
    assert any(proof["classes"] == ["link-undefined-main"] for proof in proofs)


def test_lessons_check_finds_a_lesson_that_is_wrong(tmp_path: Path, taught: Course) -> None:
    copy = tmp_path / "lessons"
    shutil.copytree(taught.folder, copy)
    (copy / "07-no-main" / "solution/src/main.rs").write_text("fn main() {}\n")
    done = playground("lessons", "check", "no-main", data=tmp_path / "data", PLAYGROUND_LESSONS_DIR=str(copy))
    assert done.returncode == 1
    assert "FAIL no-main" in done.stdout


def test_lessons_check_passes_over_a_lesson_whose_program_is_missing_and_says_so(
    tmp_path: Path, taught: Course
) -> None:
    copy = tmp_path / "lessons"
    shutil.copytree(taught.folder, copy)
    (manifest,) = copy.glob("*-no-main/lesson.toml")
    manifest.write_text('needs = ["qemu-system-nothing"]\n' + manifest.read_text())
    done = playground("lessons", "check", "no-main", data=tmp_path / "data", PLAYGROUND_LESSONS_DIR=str(copy))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "no-main: qemu-system-nothing missing; playground setup --all installs it." in done.stderr


def test_lessons_check_finds_a_prediction_without_one_right_answer(tmp_path: Path, taught: Course) -> None:
    copy = tmp_path / "lessons"
    shutil.copytree(taught.folder, copy)
    (manifest,) = copy.glob("*-no-main/lesson.toml")
    manifest.write_text(manifest.read_text().replace('errors = ["link-undefined-main"]', 'errors = ["link-failed"]', 1))
    done = playground("lessons", "check", "no-main", data=tmp_path / "data", PLAYGROUND_LESSONS_DIR=str(copy))
    assert done.returncode == 1
    assert "Exactly one option of the prediction should be right: none is." in done.stdout


def test_doctor_says_what_is_here(tmp_path: Path) -> None:
    text = playground("doctor", data=tmp_path)
    assert f"Progress: {tmp_path}/progress.sqlite3 is made at the first start." in text.stdout
    assert text.returncode == 0
    report = json.loads(playground("doctor", "--json", data=tmp_path).stdout)
    names = [toolchain["name"] for toolchain in report["toolchains"]]
    assert names
    assert all(name in text.stdout for name in names)
