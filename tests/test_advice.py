"""Advice: one at a time, the first whose situation is that of the run."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from app.course import Lesson
from app.course.advice import HOST, Case, advised, like
from app.course.checks import summarize
from app.course.crate import CrateFacts, Lookalike, Mark, Source, Table
from app.course.diagnosis import Diagnosis
from app.course.facts import Facts, Situation, SourceFacts, TableFacts
from app.course.specs import AdviceSpec
from app.protocol.command import parse
from app.protocol.events import Advice, Diagnostic, Event, Finished, Machine, Output, Span, Suggestion, Verdict
from tests.support.verdicts import advise, binary, ended, error

HOST_TRIPLE = "x86_64-unknown-linux-gnu"
MAIN = Source(marks=(Mark("#![no_std]", 1), Mark("fn main", 3), Mark("loop", 4, 2)), commented=(Mark("fn old", 9),))
MANIFEST = Table(marks=(Mark("package", 1), Mark('package.name = "blog_os"', 2)))
CONFIG = Table(fault="colon", line=7, text="target: x")
CRATE = CrateFacts(MAIN, MANIFEST, CONFIG, Lookalike("Cargo.toml", 4, "U+00A0", "NO-BREAK SPACE", "a space"))


def advice(**when: Any) -> AdviceSpec:
    """An advice for that situation."""
    spec = {"id": "help", "title": "Title", "helps": "Help.", "when": when}
    return AdviceSpec.model_validate(spec)


def case_of(
    lesson: Lesson, diagnosis: Diagnosis, *events: Event, command: str = "cargo build", crate: CrateFacts = CRATE
) -> Case:
    events = events if any(isinstance(event, Finished) for event in events) else (*events, ended())
    return Case(lesson, (lesson,), diagnosis, "1.96.0", summarize(parse(command), events, HOST_TRIPLE), crate)


def given(lesson: Lesson, diagnosis: Diagnosis, *events: Event, **more: Any) -> str:
    """The id of the advice that the course gives."""
    return ", ".join(one.id for one in advise(case_of(lesson, diagnosis, *events, **more)))


def alone(spec: AdviceSpec, case: Case) -> str:
    """The text of that advice, if it is given; it is the only one that there is."""
    only = Case(case.lesson, case.steps, Diagnosis((), (spec,)), case.version, case.seen, case.crate)
    bare = Case(_without_advice(only.lesson), only.steps, only.diagnosis, only.version, only.seen, only.crate)
    return "".join(f"{one.title}: {one.text}" for one in advise(bare))


def _without_advice(lesson: Lesson) -> Lesson:
    return Lesson(**{**vars(lesson), "advice": ()})


WARNED = Diagnostic(level="warning", code=None, message="unused thing", rendered="")
HOLDS: Mapping[str, Any] = {
    "status": "failed",
    "errors": ["macro-not-in-scope"],
    "output": "printed",
    "command": {"program": "cargo"},
    "artifact": {"machine": ["ARM"]},
    "exit_code": 101,
    "machine": {"ended": ["none"]},
    "message": ["^error: cannot find macro"],
    "warning": "unused",
    "typed": ["--release"],
    "target": [HOST],
    "own_target": True,
    "compilers": ">=1.95",
    "linker": "undefined",
    "lookalike": True,
    "main": {"has": ["#![no_std]"], "any": ["fn *"], "lacks": ["fn _start"], "twice": ["loop"]},
    "manifest": {"has": ["package"]},
    "config": {"fault": ["colon"]},
    "toml": {"any": ["package.name = *"]},
}
FAILS: Mapping[str, Any] = {
    "status": "ok",
    "errors": ["main-missing"],
    "output": "not printed",
    "command": {"program": "rustc"},
    "artifact": {"machine": ["AArch64"]},
    "observed": {"outcome": "killed"},
    "exit_code": 1,
    "machine": {"ended": ["time"]},
    "message": ["^error: another"],
    "warning": "deprecated",
    "typed": ["--target*"],
    "target": ["thumb*"],
    "own_target": False,
    "step": "later",
    "compilers": "<1.95",
    "linker": "duplicate",
    "lookalike": False,
    "main": {"has": ["#![no_main]"]},
    "manifest": {"lacks": ["package"]},
    "config": {"fault": ["twice"]},
    "toml": {"has": ["package", "workspace"]},
}
TABLES: list[tuple[str, Mapping[str, Any]]] = [
    ("main", {"any": ["mod *"]}),
    ("main", {"lacks": ["fn main"]}),
    ("main", {"twice": ["fn main"]}),
    ("main", {"commented": ["fn main"]}),
    ("main", {"blank": True}),
    ("main", {"broken": True}),
    ("manifest", {"any": ["lib", "bin*"]}),
    ("manifest", {"fault": ["other"]}),
]


@pytest.fixture
def a_run(lessons: dict[str, Lesson], diagnosis: Diagnosis) -> Case:
    """A run of the lesson on bare metal of which all of ``HOLDS`` is true."""
    finished = Finished(status="failed", exit_code=101, seconds=0.1)
    macro = error("macro-not-in-scope", "cannot find macro `println` in this scope")
    linking = error("link-failed").model_copy(update={"notes": ("undefined symbol: a",)})
    events = (Output(stream="stderr", text="printed"), WARNED, macro, linking, binary(), finished)
    return case_of(lessons["hello-std"], diagnosis, *events, command="cargo build --release")


@pytest.mark.parametrize("name", HOLDS)
def test_an_advice_is_given_in_its_situation(name: str, a_run: Case) -> None:
    assert alone(advice(**{name: HOLDS[name]}), a_run) == "Title: Help."


@pytest.mark.parametrize("name", FAILS)
def test_an_advice_is_not_given_in_another_situation(name: str, a_run: Case) -> None:
    assert not alone(advice(**{name: FAILS[name]}), a_run)


@pytest.mark.parametrize(("name", "facts"), TABLES)
def test_each_fact_of_a_file_counts(name: str, facts: Mapping[str, Any], a_run: Case) -> None:
    assert not alone(advice(**{name: facts}), a_run)


def test_every_fact_of_a_situation_is_tried() -> None:
    assert set(FAILS) | {"only"} == set(Situation.model_fields)
    assert {name for _, facts in TABLES for name in facts} | {"has"} == (
        set(SourceFacts.model_fields) | set(TableFacts.model_fields)
    )


def test_errors_that_the_goal_asks_for_do_not_count(lessons: dict[str, Lesson], diagnosis: Diagnosis) -> None:
    case = case_of(lessons["no-std"], diagnosis, error("macro-not-in-scope"), error("main-missing"))
    assert not alone(advice(errors=["macro-not-in-scope"]), case)
    assert alone(advice(errors=["macro-not-in-scope", "main-missing"]), case)
    assert alone(advice(errors=["main-missing"], only=True), case)


def test_only_means_that_there_is_no_other_error(lessons: dict[str, Lesson], diagnosis: Diagnosis) -> None:
    case = case_of(lessons["hello-std"], diagnosis, error("macro-not-in-scope"), error(None))
    assert alone(advice(errors=["macro-not-in-scope"]), case)
    assert not alone(advice(errors=["macro-not-in-scope"], only=True), case)
    with pytest.raises(ValueError, match="only says something about errors"):
        advice(only=True)


def test_what_lessons_say_comes_before_what_is_said_everywhere_but_for_the_first(a_run: Case) -> None:
    def chosen(own: list[AdviceSpec], general: list[AdviceSpec]) -> str:
        lesson = Lesson(**{**vars(a_run.lesson), "advice": tuple(own)})
        diagnosis = Diagnosis((), tuple(general))
        case = Case(lesson, a_run.steps, diagnosis, a_run.version, a_run.seen, a_run.crate)
        return ", ".join(one.text for one in advise(case))

    def named(name: str, text: str, place: str | None = None) -> AdviceSpec:
        return AdviceSpec.model_validate({"id": name, "title": "t", "helps": text, "place": place, "when": {}})

    assert chosen([named("a", "own")], [named("b", "general")]) == "own"
    assert chosen([named("a", "own")], [named("b", "general", "first")]) == "general"
    assert chosen([named("a", "own", "last")], [named("b", "general")]) == "general"
    assert chosen([named("a", "own", "last")], [named("b", "general", "last")]) == "own"
    # It takes the place of the one with its id, so it stands where that does.
    assert chosen([named("b", "own")], [named("a", "general", "first"), named("b", "other", "first")]) == "own"


def test_a_text_names_what_was_seen(lessons: dict[str, Lesson], diagnosis: Diagnosis) -> None:
    span = Span(file="src/main.rs", line=3, column=1, end_line=3, end_column=9, primary=True)
    change = {"file": "src/main.rs", "line": 3, "column": 3, "end_line": 3, "end_column": 15, "text": "panic_handler"}
    suggestion = Suggestion.model_validate(
        {"message": "similar", "applicability": "MaybeIncorrect", "replacements": [change]}
    )
    wrong = error("attribute-unknown", "cannot find attribute `pa`nic` in this scope").model_copy(
        update={"spans": (span,), "suggestions": (suggestion,)}
    )
    spec = AdviceSpec.model_validate(
        {
            "id": "a",
            "title": "Line {{line}}",
            "seen": "`{{name}}`",
            "helps": "write `{{meant}}`",
            "example": {"language": "rust", "code": "#[{{meant}}]"},
            "when": {"message": ["cannot find attribute `(?P<name>.*)` in"]},
        }
    )
    case = case_of(lessons["hello-std"], diagnosis, wrong)
    # A backtick of a stranger's would end the code.
    assert alone(spec, case) == "Line 3: `pa'nic` write `panic_handler`\n\n```rust\n#[panic_handler]\n```"
    bare = case_of(lessons["hello-std"], diagnosis, wrong.model_copy(update={"suggestions": ()}))
    assert not alone(spec, bare), "what is not known cannot be said"


def test_a_text_names_only_what_can_be_known() -> None:
    with pytest.raises(ValueError, match=r"nothing is known by the name \{\{nobody\}\}"):
        AdviceSpec.model_validate({"id": "a", "title": "t", "helps": "{{nobody}}", "when": {}})


def test_another_step_is_recognised_by_its_goal(lessons: dict[str, Lesson], diagnosis: Diagnosis) -> None:
    steps = tuple(lessons.values())
    here = lessons["no-std"]
    ahead: list[Event] = [error("panic-handler-missing"), error("unwinding-unsupported"), ended()]
    case = Case(here, steps, diagnosis, "1.96.0", summarize(parse("cargo build"), ahead, HOST_TRIPLE), CrateFacts())
    text = alone(advice(step="later"), case)
    assert text
    assert not alone(advice(step="earlier"), case)
    spec = AdviceSpec.model_validate({"id": "a", "title": "{{number}}", "helps": "{{step}}", "when": {"step": "later"}})
    following = lessons["empty-main"]
    assert alone(spec, case) == f"{following.number}: {following.title}"


@pytest.mark.parametrize(
    ("pattern", "name", "held"),
    [
        ("#[panic_handler]", "#[panic_handler]", True),
        ("#[panic*]", "#[panic_handler]", True),
        ("fn *", "fn main", True),
        ("*.rustflags = *", "build.rustflags = -C", True),
        ("a*b*c", "a-c-b", False),
        ("a*a", "a", False),
        ("fn main", "fn mainly", False),
    ],
)
def test_a_star_stands_for_any_characters(pattern: str, name: str, held: bool) -> None:
    assert like(pattern, name) == held


@pytest.mark.parametrize("slug", ["boot-arm", "panic-message"])
def test_what_an_emulator_started_is_not_said_to_be_impossible(
    lessons: dict[str, Lesson], diagnosis: Diagnosis, slug: str
) -> None:
    machine = Machine(emulator="qemu-system-arm", ended="lockup", exit_code=None, seconds=0.1, meaning="", registers="")
    assert given(lessons[slug], diagnosis, binary(), machine, command="cargo run") != "cannot-run-here"
    command = "cargo run --target thumbv7em-none-eabihf"
    assert given(lessons["bare-metal"], diagnosis, binary(), command=command, crate=CrateFacts()) == "cannot-run-here"


def test_facts_of_files_are_for_advice_alone() -> None:
    assert not {"main", "manifest", "config", "toml", "lookalike"} & set(Facts.model_fields)


@pytest.mark.parametrize(("when", "kept"), [({"status": "failed"}, True), ({"config": {"fault": ["colon"]}}, False)])
def test_advice_about_files_takes_the_place_of_a_detour(a_run: Case, when: Mapping[str, Any], *, kept: bool) -> None:
    case = replace(a_run, lesson=_without_advice(a_run.lesson), diagnosis=Diagnosis((), (advice(**when),)))
    verdict = Verdict(reached=False, checks=(), detour=Advice(id="way", text="As the text says."))
    found = advised(case, verdict)
    assert [one.id for one in found.advice] == ["help"]
    assert (found.detour is not None) == kept
