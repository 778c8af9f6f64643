"""Quotations: the lines of a recording that a lesson's text shows, and the errors for those that match none."""

import pytest

from app.course.quotation import Quote, generations_without, quote, quoted
from app.course.recordings import Recording, RecordingError, RecordingKey
from app.protocol.events import Diagnostic, Event, Machine, Observed, Output, Screen

LINES = "\x1b[1merror\x1b[0m: no\n  note: one\n  note: two\n"


def run(version: str, *events: Event) -> Recording:
    said = events or (Diagnostic(level="error", code=None, message="no", rendered=LINES),)
    return Recording.of(RecordingKey("start", "cargo run", version, "x86_64-unknown-linux-gnu", "system"), said)


def text(info: str, *recordings: Recording) -> list[str]:
    return [shown for _, shown in quoted(recordings, quote(info))]


def test_a_quotation_names_compilers_parts_and_first_and_last_line_after_the_command() -> None:
    assert quote('recorded start "cargo run"') == Quote("start", "cargo run")
    assert quote('recorded start "cargo run" 1.96 1.95') == Quote("start", "cargo run", ("1.96", "1.95"))
    full = quote("recorded start 'cargo run' 1.96 seen from 'a b' to '^c'")
    assert full == Quote("start", "cargo run", ("1.96",), seen=True, first="a b", last="^c")
    assert quote('recorded start "cargo run" to "to"').last == "to"


@pytest.mark.parametrize(
    "info",
    [
        "recorded",
        "recorded start",
        'recorded Begin "cargo build"',
        'recorded start "x',
    ],
)
def test_a_wrong_quotation_is_refused_with_an_example(info: str) -> None:
    with pytest.raises(RecordingError, match='recorded solution "cargo build"'):
        quote(info)


@pytest.mark.parametrize("rest", ["form x", "to b from a", "from", "1.96.1"])
def test_a_word_that_means_nothing_is_named(rest: str) -> None:
    with pytest.raises(RecordingError, match="compilers, `seen`, `from` and `to` may follow"):
        quote(f"recorded start x {rest}")


def test_a_pattern_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(RecordingError, match="is not a regular expression"):
        quote("recorded start x from '('")


def test_the_lines_from_one_to_another_are_shown_and_where_some_are_left_out_is_marked() -> None:
    said = run("1.96.0")
    assert text("recorded start 'cargo run' from '^error: no$' to one", said) == [
        "\x1b[1merror\x1b[0m: no\n  note: one\n…"
    ]
    assert text("recorded start 'cargo run' from note to note", said) == ["…\n  note: one\n…"]
    assert text("recorded start 'cargo run' from two", said) == ["…\n  note: two"]
    assert text("recorded start 'cargo run' to two", said) == [LINES.rstrip()]


def test_a_recording_without_the_lines_is_named_and_not_shown() -> None:
    old = run("1.63.0", Diagnostic(level="error", code=None, message="m", rendered="something else\n"))
    wanted = quote("recorded start 'cargo run' from one")
    assert generations_without([run("1.96.0"), old], wanted) == ("1.63",)
    assert [names for names, _ in quoted([run("1.96.0"), old], wanted)] == [("1.96",)]
    assert generations_without([run("1.96.0")], quote("recorded start 'cargo run' from one to error")) == ("1.96",)


def test_compilers_that_differ_only_in_lines_left_out_stand_together() -> None:
    old = run("1.63.0", Diagnostic(level="error", code=None, message="m", rendered=f"older\n{LINES}"))
    new = run("1.96.0", Diagnostic(level="error", code=None, message="m", rendered=f"newer\n{LINES}"))
    assert quoted([new, old], quote("recorded start 'cargo run' from one to one")) == [
        (("1.96", "1.63"), "…\n  note: one\n…")
    ]


def test_observations_of_programs_and_machines_can_be_quoted() -> None:
    died = Observed(
        path="p",
        outcome="killed",
        reason="misaligned",
        detail="`movaps` minds.",
        seconds=0,
        cpu_seconds=0,
        system_calls=0,
    )
    screen = Screen(columns=80, rows=2, text=("Hello   ", "   "), colors=("", ""))
    ended = Machine(emulator="qemu", ended="halted", exit_code=None, seconds=0, meaning="Sleeps.", registers="A=1\nB=2")
    printed = Output(stream="stdout", text="printed\n")
    assert text("recorded start 'cargo run' seen", run("1.96.0", printed, died)) == ["`movaps` minds."]
    assert text("recorded start 'cargo run' seen to Sleeps", run("1.96.0", printed, screen, ended)) == [
        "Hello\n\nSleeps.\n…"
    ]
    assert text("recorded start 'cargo run' seen from B=", run("1.96.0", printed, ended)) == ["…\nB=2"]
    assert text("recorded start 'cargo run'", run("1.96.0", printed, ended)) == ["printed"]
    code = ended.model_copy(update={"exit_code": 33})
    assert text("recorded start 'cargo run' seen to code", run("1.96.0", code)) == ["Sleeps.\nexit code: 33\n…"]
