"""The verdict, for recorded runs of three compilers and for constructed ones."""

from typing import Any

import pytest

from app.course import Lesson, load_shelf
from app.course.advice import Case
from app.course.checks import UNKNOWN, judge, matching_options, misses, summarize
from app.course.crate.reading import read_crate
from app.course.diagnosis import Diagnosis
from app.course.facts import ArtifactFacts, CommandFacts, Facts, at_version, in_range
from app.course.recordings import Recording
from app.course.specs import Prediction
from app.protocol.command import parse
from app.protocol.events import Diagnostic, Event, Output, Span
from app.settings import Settings
from tests.support.verdicts import advise, binary, ended, error

COURSE = load_shelf(Settings().lessons_dir).default
RUNS = [
    pytest.param(lesson, run, id=f"{lesson.slug}-{run.what.generation}-{run.what.files}-{run.what.command}")
    for lesson in COURSE.lessons
    for run in lesson.recordings
]


def test_there_are_recordings_of_three_compilers(lessons: dict[str, Lesson]) -> None:
    generations = {run.what.generation for lesson in lessons.values() for run in lesson.recordings}
    assert generations >= {"1.63", "1.95", "1.96"}


@pytest.mark.parametrize(("lesson", "run"), RUNS)
def test_a_recorded_run_gets_its_classes_again_and_shows_what_the_lesson_expects(
    lesson: Lesson, run: Recording, diagnosis: Diagnosis
) -> None:
    sources = {known.id: known.source for known in diagnosis.classes}
    for event in run.events:
        if isinstance(event, Diagnostic):
            source = sources.get(event.error_class or "", "rustc")
            assert diagnosis.classify(event, source) == event.error_class
    what = run.what
    expected = [
        one
        for one in lesson.expectations
        if (one.files, one.command) == (what.files, what.command)
        and one.is_for(what.host)
        and (one.toolchains is None or in_range(what.version, one.toolchains))
    ]
    assert expected, "the lesson expects nothing of this run any more: playground lessons check --record"
    seen = summarize(parse(what.command), run.events, what.host)
    verdict = judge(lesson, diagnosis, what.version, seen)
    for one in expected:
        assert not list(misses(at_version(one, one.on, what.version), seen))
        assert verdict.reached == one.reached
        crate = read_crate(COURSE.files_of(lesson, what.files))
        case = Case(lesson, COURSE.lessons, diagnosis, what.version, seen, crate)
        given = "" if verdict.reached or verdict.detour else "".join(advice.id for advice in advise(case))
        assert given == (at_version(one, one.on, what.version).advice or "")
        assert (verdict.detour.id if verdict.detour else None) == one.detour
    assert all(check.ok or check.detail for check in verdict.checks)
    assert verdict.reached == all(check.ok for check in verdict.checks)


@pytest.mark.parametrize(("lesson", "run"), RUNS)
def test_a_recorded_run_keeps_the_contract(lesson: Lesson, run: Recording) -> None:
    assert [event.id for event in run.events] == list(range(1, len(run.events) + 1)), lesson.slug
    kinds = [event.type for event in run.events]
    assert kinds[0] == "queued"
    assert kinds[-1] == "finished"
    assert kinds.count("finished") == 1


def missed(facts: Facts, *events: Event, command: str = "cargo build") -> str:
    return " ".join(misses(facts, summarize(parse(command), [*events, ended()])))


def test_a_failure_goal_is_the_whole_set_of_classes() -> None:
    goal = Facts(errors=("a", "b"))
    assert not missed(goal, error("b"), error("a"), error("a"))
    assert "Still expected: b." in missed(goal, error("a"))
    assert "There is another error: c" in missed(goal, error("a"), error("b"), error("c"))
    assert "There is another error: who knows" in missed(goal, error("a"), error("b"), error(None, "who knows"))
    assert "There was none." in missed(goal)


def test_warnings_and_counts_of_errors_are_no_errors() -> None:
    warning = Diagnostic(level="warning", code=None, message="unused", rendered="unused")
    count = error(None, "aborting due to 2 previous errors")
    assert not missed(Facts(errors=("a",)), error("a"), warning, count)
    span = Span(file="src/main.rs", line=1, column=1, end_line=1, end_column=2, primary=True)
    forged = count.model_copy(update={"spans": (span,)})
    assert "There is another error" in missed(Facts(errors=("a",)), error("a"), forged)


def test_no_error_is_a_goal_too() -> None:
    assert not missed(Facts(errors=()))
    assert "There was an error: a (boom)" in missed(Facts(errors=()), error("a"))


@pytest.mark.parametrize(
    ("facts", "changes", "says"),
    [
        ({"format": "PE"}, {}, "format is ELF"),
        ({"entry_symbol": "_start"}, {"format": "unknown", "entry": None, "entry_symbol": None}, "could not be read"),
        ({"machine": ("x86-64", "AArch64")}, {}, "is for ARM, not for x86-64 or AArch64"),
        ({"entry_symbol": "_start"}, {"entry": 0, "entry_symbol": None}, "entry address is 0"),
        ({"entry_symbol": "_start"}, {"entry_symbol": "main"}, "starts at main"),
        ({"entry_symbol": "_start"}, {"entry_symbol": None}, "symbols were removed"),
        ({"entry": "set"}, {"entry": 0}, "entry address is 0x0"),
        ({"entry": "zero"}, {}, "entry address is 0x8"),
        ({"entry_symbol": ""}, {}, "starts at _start"),
        ({"needed": ()}, {"needed": ("libc.so.6",)}, "needs libc.so.6"),
        ({"interpreter": "none"}, {"interpreter": "/lib/ld.so"}, "/lib/ld.so"),
        ({"interpreter": "any"}, {}, "no dynamic loader"),
        ({"runtime": ()}, {"runtime": ("__libc_start_main",)}, "__libc_start_main"),
        ({"runtime": ("__libc_start_main",)}, {}, "not in the binary"),
        ({"subsystem": "console"}, {}, "subsystem is not given"),
        ({"subsystem": "console"}, {"format": "PE", "subsystem": "windows"}, "subsystem is windows, not console"),
    ],
)
def test_what_is_in_the_binary_counts(facts: dict[str, Any], changes: dict[str, Any], says: str) -> None:
    wanted = Facts(artifact=ArtifactFacts(**facts))
    assert says in missed(wanted, binary(**changes))
    assert "No executable was built" in missed(wanted)
    right = {"format": "ELF", "machine": ("ARM",), "entry_symbol": "_start", "needed": (), "interpreter": "none"}
    assert not missed(Facts(artifact=ArtifactFacts(**right | {"runtime": ()})), binary())


def test_the_command_counts() -> None:
    build = Facts(command=CommandFacts(program="cargo", subcommand=("build",), flags_by_hand=False))
    assert not missed(build, command="cargo b --release")
    assert "this step is about `cargo build`" in missed(build, command="cargo check")
    by_hand = Facts(command=CommandFacts(program="cargo", flags_by_hand=True))
    assert not missed(by_hand, command="cargo rustc -- -C link-arg=-nostartfiles")
    assert missed(by_hand, command="cargo rustc")
    configured = Facts(command=CommandFacts(program="cargo", flags_by_hand=False))
    host = Facts(command=CommandFacts(program="cargo", target=False))
    assert not missed(host)
    assert "without --target" in missed(host, command="cargo build --target thumbv7em-none-eabihf")
    assert "No other --target" in missed(Facts(command=CommandFacts(program="cargo", target=True)))
    assert "typed by hand" in missed(configured, command="cargo rustc -- -C link-arg=-nostartfiles")


def test_output_and_status_count() -> None:
    host = Facts(output=r"^host: ", status="failed")
    assert not missed(host, Output(stream="stdout", text="rustc\n\x1b[1mhost: x86\n"))
    assert missed(host, Output(stream="stdout", text="ghost: x86\n"))
    assert "this step needs it to succeed" in missed(Facts(status="ok"))


def test_a_run_that_has_not_finished_has_no_verdict() -> None:
    with pytest.raises(ValueError, match="not finished"):
        summarize(parse("cargo build"), [error("a")])


def test_a_learner_reads_what_an_error_is_called_and_not_its_id(
    lessons: dict[str, Lesson], diagnosis: Diagnosis
) -> None:
    named = {known.id: known.title for known in diagnosis.classes}
    lesson = lessons["panic-handler"]
    seen = [error("unwinding-unsupported"), error("panic-handler-missing")]
    found = judge(lesson, diagnosis, "1.96.0", summarize(parse("cargo build"), [*seen, ended()]))
    [detail] = [check.detail for check in found.checks if not check.ok]
    assert named["panic-handler-missing"] in detail
    assert "panic-handler-missing" not in detail


@pytest.mark.parametrize(
    ("version", "versions", "held"),
    [
        ("1.97.0-nightly", ">=1.82", True),
        ("1.97.0-nightly", "<1.77", False),
        ("1.63.0", "<1.77", True),
        ("1.96.0-beta.2", ">=1.96", True),
    ],
)
def test_a_nightly_is_in_the_ranges_of_the_version_that_it_becomes(version: str, versions: str, held: bool) -> None:
    assert in_range(version, versions) == held


def test_an_unknown_error_has_a_name() -> None:
    assert summarize(parse("cargo build"), [error(None), ended()]).classes == (UNKNOWN,)


PREDICTION = Prediction.model_validate(
    {
        "question": "What?",
        "option": [
            {"id": "well", "text": "All is well", "because": "So it is.", "status": "ok"},
            {
                "id": "main",
                "text": "There is no main",
                "because": "It is gone.",
                "errors": ["main-missing"],
                "on": {"<1.70": {"errors": ["start-lang-item"]}},
            },
        ],
    }
)


@pytest.mark.parametrize(
    ("version", "events", "right"),
    [
        ("1.96.0", [ended("ok")], ["well"]),
        ("1.96.0", [error("main-missing"), ended()], ["main"]),
        ("1.63.0", [error("start-lang-item"), ended()], ["main"]),
        ("1.63.0", [error("main-missing"), ended()], []),
        ("1.96.0", [error("main-missing"), error(None), ended()], []),
    ],
)
def test_the_right_answer_is_the_one_whose_facts_hold(version: str, events: list[Event], right: list[str]) -> None:
    seen = summarize(parse("cargo build"), events)
    assert [option.id for option in matching_options(PREDICTION, version, seen)] == right
