"""Field cases: what learners typed, taken from public reports, is answered rightly by the shipped course."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.cli.field import left_out, results_of
from app.course import load_shelf
from app.course.field import Answer, FieldBench, FieldResult, LeftOut, judge_answers
from app.course.field_cases import CaseSpec, FieldCase, FieldError, cases_below, is_among, read_case
from app.engine.local import LocalEngine
from app.settings import Settings
from app.toolchain import Toolchain
from tests.support.environment import EVERYTHING

CASES = Path(__file__).with_name("field")


@pytest.mark.anyio
async def test_every_case_is_answered_rightly(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    shelf = load_shelf(settings.lessons_dir)
    cases = cases_below([CASES])
    assert len(cases) > 100
    results = await results_of(settings, shelf, cases, every=EVERYTHING)
    wrong = [f"{one.case.spec.id}: {problem}" for one in results for problem in one.problems]
    assert not wrong, "\n".join(wrong)
    for one in results:
        assert one.ran or one.case.spec.toolchains, f"{one.case.spec.id}: {one.left_out}"
    with capsys.disabled():
        for line in left_out(results):
            print(f"\n{line}")


def test_a_case_for_some_compilers_says_why() -> None:
    assert all(bool(case.spec.why) == bool(case.spec.toolchains) for case in cases_below([CASES]))


def spec(**changes: object) -> CaseSpec:
    facts = {"id": "a", "kind": 1, "source": "here", "lesson": "no-std", "commands": ["cargo build"]}
    facts |= {"reached": False, "truth": "So it is.", "say": ["brace"], "not_say": ["forget it"]}
    return CaseSpec.model_validate(facts | changes)


ANSWER = Answer("cargo build", ("A Brace is missing.",), printed="unclosed delimiter", classes=frozenset({"syntax"}))


@pytest.mark.parametrize(
    ("case", "answer", "problems"),
    [
        (spec(), ANSWER, []),
        (spec(reached=True), ANSWER, ["is not reached"]),
        (spec(say=["bracket"]), ANSWER, ["is not told: bracket"]),
        (spec(not_say=["brace"]), ANSWER, ["is told: brace"]),
        (spec(say=["bracket"], output=["unclosed"]), ANSWER, []),
        (spec(say=["bracket"], output=["closed."]), ANSWER, []),
        (spec(say=[], output=["opened"]), ANSWER, ["is not printed: opened"]),
        (spec(classes=["syntax", "linker"]), ANSWER, ["is not seen: linker"]),
        (spec(accepted=True), Answer("x", ("brace",), refused=True), ["is refused: x"]),
        (spec(or_accepted={"reached": False}), Answer("x", ()), []),
        (spec(or_accepted={"reached": True}), Answer("x", ()), ["is not reached"]),
    ],
)
def test_an_answer_is_judged(case: CaseSpec, answer: Answer, problems: list[str]) -> None:
    assert judge_answers(case, [answer]) == problems


@pytest.mark.parametrize(
    ("compilers", "version", "stable", "among"),
    [
        ("<1.82", "1.63.0", True, True),
        ("<1.82", "1.82.0", True, False),
        ("1.9", "1.9.3", True, True),
        ("1.9", "1.96.0", True, False),
        ("nightly", "1.97.0-nightly", False, True),
        ("nightly", "1.97.0", True, False),
        ("stable", "1.97.0", True, True),
        (">=1.97", "1.97.0-nightly", False, True),
    ],
)
def test_compilers_are_named_by_version_range_and_channel(
    compilers: str, version: str, stable: bool, among: bool
) -> None:
    assert is_among(compilers, version, stable=stable) is among


def test_a_case_can_expect_something_else_of_some_compilers() -> None:
    case = spec(output=["x"], on={"nightly": {"reached": True}, "<1.85": {"say": ["edition"], "output": []}})
    assert case.at("1.96.0", stable=True) == case
    old = case.at("1.63.0", stable=True)
    assert (old.say, old.output, old.not_say, old.reached) == (("edition",), (), ("forget it",), False)
    assert case.at("1.97.0-nightly", stable=False).reached


def test_an_older_compiler_gets_the_spelling_that_it_knows() -> None:
    files = {
        "Cargo.toml": '[package]\nedition = "2024"\n',
        "src/main.rs": '#[unsafe(export_name = "a")]\nfn a() {}\nunsafe extern "C" {}\nunsafe extern "C" fn b() {}\n',
    }
    new = FieldCase(spec(), files)
    assert new.files_for("1.85.0") == files
    assert new.files_for("1.82.0") == files | {"Cargo.toml": '[package]\nedition = "2021"\n'}
    assert new.files_for("1.63.0") == {
        "Cargo.toml": '[package]\nedition = "2021"\n',
        "src/main.rs": '#[export_name = "a"]\nfn a() {}\nextern "C" {}\nunsafe extern "C" fn b() {}\n',
    }
    assert FieldCase(spec(as_written=True), files).files_for("1.63.0") == files
    of_2021 = files | {"Cargo.toml": '[package]\nedition = "2021"\n'}
    assert FieldCase(spec(), of_2021).files_for("1.63.0") == of_2021


@pytest.mark.anyio
async def test_a_case_is_left_out_where_the_compiler_or_the_target_does_not_fit(
    settings: Settings, engine: LocalEngine, toolchain: Toolchain
) -> None:
    bare = FieldCase(spec(lesson="bare-metal", commands=["cargo build --target thumbv7em-none-eabihf"]), {})
    without = replace(toolchain, targets={toolchain.host: "shipped"}, source="rustup")
    bench = FieldBench(engine, load_shelf(settings.lessons_dir), settings.file_bytes, [without], every=True)
    result = await bench.result(bare)
    assert (result.ran, result.problems) == ((), ())
    [left] = result.left_out
    assert f"playground setup --toolchain {toolchain.name} --target thumbv7em-none-eabihf" in left.reason

    result = await bench.result(FieldCase(spec(toolchains=["<1.0"], why="It is about the past."), {}))
    assert result == replace(result, ran=(), problems=(), left_out=(LeftOut(toolchain.name, "It is about the past."),))


@pytest.mark.anyio
async def test_a_compiler_that_is_not_here_is_refused(settings: Settings) -> None:
    with pytest.raises(FieldError, match=r"There is no toolchain 0\.1 here; there is 1\."):
        await results_of(settings, load_shelf(settings.lessons_dir), [FieldCase(spec(), {})], only="0.1")


def test_the_cases_that_were_left_out_are_grouped_by_reason() -> None:
    reasons = (LeftOut("1.95", "It is old."), LeftOut("1.96", "It is old."), LeftOut("1.97", "It is new."))
    results = [FieldResult(FieldCase(spec(id=name), {}), left_out=reasons) for name in ("a", "b")]
    assert list(left_out(results)) == ["left out on 1.95, 1.96: a, b. It is old.", "left out on 1.97: a, b. It is new."]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id = 1", "id: "),
        ("id = ", "Invalid"),
        ('id = "a"', "kind: Field required"),
        ('toolchains = ["old"]', "'old' is no range of versions"),
    ],
)
def test_a_broken_case_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "case.toml").write_text(text)
    with pytest.raises(FieldError, match=says):
        read_case(tmp_path)


def test_a_folder_without_cases_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FieldError, match="There is no case"):
        cases_below([tmp_path])
