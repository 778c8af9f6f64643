"""Recorded runs: free of machine details, and equal for equal output."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.course import Course
from app.course.files import CourseError
from app.course.loading import load_lesson
from app.course.prove import Proof, keep, report_of
from app.course.recordings import Recording, RecordingKey, from_text, record, renewed, to_text
from app.protocol.events import Diagnostic, Event, Finished, Output, Queued, Verdict
from tests.support.forked import run_forked

WHAT = RecordingKey("solution", "cargo build", "1.96.0", "x86_64-unknown-linux-gnu", "system")
SCRATCH = "/var/tmp/scratch-0/server-ab12cd/17"


def events(text: str = "", *, seconds: float = 0.25, rendered: str = "error: no\n") -> tuple[Event, ...]:
    said = Diagnostic(level="error", code=None, message="no", rendered=rendered, error_class="nothing")
    output = Output(stream="stderr", text=text)
    ended = Finished(status="failed", exit_code=101, seconds=seconds)
    log: tuple[Event, ...] = (Queued(position=0), output, said, ended, Verdict(reached=False, checks=()))
    return tuple(event.numbered(number) for number, event in enumerate(log, 1))


def test_nothing_of_this_machine_or_moment_is_kept() -> None:
    text = (
        f"{SCRATCH}/blog_os/target/debug/deps/rustcgu5zhN/symbols.o {SCRATCH}/home/rustcq1W2e3/symbols.o "
        'PATH="/opt/x/bin:/usr/bin" blog_os-894a4d5c037240dd.blog_os.60378735368b1d9b-cgu.0.rcgu.o '
        "_ZN7blog_os6_start17hb0a50123456789abE"
    )
    kept = to_text([record(WHAT, events(text, seconds=3.2))])
    for trace in ("server-", "gu5zhN", "q1W2e3", "/opt/x", "894a4d5c037240dd", "60378735368b1d9b", "b0a5012", "3.2"):
        assert trace not in kept
    assert "/playground/blog_os/target/debug/deps/rustc…/symbols.o" in kept
    assert "verdict" not in kept


@pytest.mark.parametrize("positions", [(2, 1, 0), (3,)], ids=["to the front", "and began from the third place"])
def test_a_run_that_waited_in_the_queue_is_recorded_like_any_other(positions: tuple[int, ...]) -> None:
    at_once = events("a\n")
    log = (*(Queued(position=position) for position in positions), *at_once[1:])
    waited = tuple(event.numbered(number) for number, event in enumerate(log, 1))
    assert record(WHAT, waited) == record(WHAT, at_once)


def test_when_a_file_was_linked_is_not_kept() -> None:
    printed = "Time/Date\t\t{}\n(format RSDS signature {} age 1 pdb blog_os.pdb)\n"
    one = record(WHAT, events(printed.format("Wed Nov 25 18:01:45 2026", "5d060f1a2d3016214c4c44205044422e")))
    other = record(WHAT, events(printed.format("Thu Nov 26 08:00:00 2026", "0a060f1a2d3016214c4c44205044422e")))
    assert one == other
    assert printed.format("…", "…") in [event.text for event in one.events if isinstance(event, Output)]


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\x0c"])
def test_what_a_program_prints_does_not_break_a_line_of_a_file(separator: str) -> None:
    recordings = (record(WHAT, events(f"one{separator}two\n")),)
    assert from_text(to_text(recordings)) == recordings


def test_a_file_without_recordings_has_none() -> None:
    assert from_text("") == ()


def test_a_file_of_recordings_is_read_as_it_was_written() -> None:
    runs = (record(WHAT, events("a\n")), record(replace(WHAT, files="start"), events("\x1b[1mb\x1b[0m\n")))
    assert from_text(to_text(runs)) == runs


def test_that_cargo_had_other_parts_to_wait_for_is_no_difference() -> None:
    one = record(WHAT, events("error: could not compile\n"))
    waited = "error: could not compile\n\x1b[33mwarning\x1b[0m: build failed, waiting for other jobs to finish...\n"
    assert one.says_the_same(record(WHAT, events(waited)))


def test_times_addresses_and_folders_are_no_difference_and_words_are() -> None:
    one = record(WHAT, events("Finished in 0.05s at /usr/lib/gcc/x86_64-linux-gnu/12/Scrt1.o 0x18\n"))
    same = record(WHAT, events("Finished in 1.25s at /opt/lib/gcc/x86_64-linux-gnu/14/Scrt1.o 0x1b\n"))
    other = record(WHAT, events("Finished in 0.05s at /usr/lib/gcc/x86_64-linux-gnu/12/crt1.o 0x18\n"))
    assert one.says_the_same(same)
    assert not one.says_the_same(other)
    assert not one.says_the_same(record(WHAT, events(rendered="error: never\n")))
    expected = [("solution", "cargo build")]
    assert renewed([one], [same], expected) == (one,)
    assert renewed([one], [other], expected) == (other,)
    assert renewed([one], [], expected) == (one,)
    assert renewed([one], [], [("start", "cargo build")]) == ()


def test_what_is_shown_are_the_messages_with_folders_and_long_lines_cut_short() -> None:
    rendered = f'error: linking failed\n  = note: "cc" {"-x " * 200}"-o" "it"\n/a/b/c/d/Scrt1.o: in function\n\n'
    shown = record(WHAT, events("Compiling\n", rendered=rendered)).shown
    assert shown.startswith("error: linking failed\n")
    assert "Compiling" not in shown
    assert " … " in shown
    assert shown.endswith("\n…/Scrt1.o: in function")
    assert max(len(line) for line in shown.splitlines()) < 240


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "01-step"
    (folder / "start" / "src").mkdir(parents=True)
    (folder / "start" / "src" / "main.rs").write_text("fn main() {}\n")
    (folder / "text.md").write_text("## A step\n")
    (folder / "lesson.toml").write_text(
        'title = "t"\ngoal = "g"\nminutes = 1\nsection = "s"\nedit = ["src/main.rs"]\ncommands = ["cargo build"]\n'
        'hints = ["h"]\n[[check]]\nid = "c"\ntitle = "c"\n[[expect]]\nfiles = "start"\ncommand = "cargo build"\n'
        'reached = true\n[[expect]]\nfiles = "solution"\ncommand = "cargo build"\nreached = true\n'
    )
    return folder


def proof(run: Recording, *problems: str) -> Proof:
    return Proof("step", run.what.generation, run.what.files, run.what.command, problems, run=run)


def test_proven_runs_of_stable_compilers_are_kept_and_files_change_only_with_the_words(folder: Path) -> None:
    night = record(replace(WHAT, version="1.97.0-nightly"), events())
    proofs = [proof(record(WHAT, events("in 0.1s"))), proof(night)]
    assert keep(load_lesson(folder), proofs) == ["01-step/recorded/1.96.jsonl"]
    assert [one.what for one in load_lesson(folder).recordings] == [WHAT]
    assert keep(load_lesson(folder), [proof(record(WHAT, events("in 0.9s")))]) == []
    assert report_of(datetime(2026, 5, 4, tzinfo=UTC), proofs).nightlies == ("1.97",)
    assert keep(load_lesson(folder), [proof(record(WHAT, events("other words")), "not what the lesson expects")]) == []
    assert keep(load_lesson(folder), [proof(record(WHAT, events("other words")))]) == ["01-step/recorded/1.96.jsonl"]


def test_a_field_that_events_got_since_then_changes_no_file(folder: Path) -> None:
    keep(load_lesson(folder), [proof(record(WHAT, events()))])
    path = folder / "recorded" / "1.96.jsonl"
    path.write_text(older := path.read_text().replace(',"suggestions":[]', ""))
    assert '"suggestions"' not in older
    assert keep(load_lesson(folder), [proof(record(WHAT, events()))]) == []
    assert path.read_text() == older


def test_a_broken_recording_is_named_with_its_line(folder: Path) -> None:
    keep(load_lesson(folder), [proof(record(WHAT, events()))])
    path = folder / "recorded" / "1.96.jsonl"
    path.write_text(path.read_text() + "{}\n")
    with pytest.raises(CourseError, match=r"1\.96\.jsonl: line 6: .*--record"):
        load_lesson(folder)


def test_the_check_says_which_recording_is_old_and_record_renews_it(tmp_path: Path, taught: Course) -> None:
    # The whole course, because a step is also proven with the files of the steps beside it.
    lessons = shutil.copytree(taught.folder, tmp_path / "lessons")

    def check(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        folders = {"PLAYGROUND_LESSONS_DIR": str(lessons), "PLAYGROUND_DATA_DIR": str(tmp_path / "data")}
        return run_forked("lessons", "check", "panic-handler", *options, env=os.environ | folders | variables)

    old = next((lessons / "04-panic-handler" / "recorded").glob("1.9*.jsonl"))
    fresh = old.read_text()
    old.write_text(fresh.replace("unwinding panics", "winding panics"))
    stale = check("--json")
    assert stale.returncode == 1
    lines = [json.loads(line) for line in stale.stdout.splitlines()]
    assert {line["toolchain"] for line in lines if line["stale"]} == {old.stem}
    assert not any(line["problems"] for line in lines)
    elsewhere = check(PLAYGROUND_ISOLATION="landlock")
    assert elsewhere.returncode == 0, "its folder has another length there, so it is not compared"
    again = check("--record")
    assert again.returncode == 0, again.stderr
    assert again.stderr.splitlines() == [f"recorded 04-panic-handler/recorded/{old.name}"]
    assert old.read_text() == fresh
