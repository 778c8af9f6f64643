"""Field cases: what learners typed, taken from public reports, is answered rightly by the shipped course."""

from pathlib import Path

import pytest

from app.cli.field import results_of
from app.course import load_shelf
from app.course.field import Answer, CaseSpec, FieldError, cases_below, judge_answers, read_case
from app.settings import Settings
from tests.support.environment import EVERYTHING

CASES = Path(__file__).with_name("field")


@pytest.mark.anyio
async def test_every_case_is_answered_rightly(settings: Settings) -> None:
    shelf = load_shelf(settings.lessons_dir)
    cases = cases_below([CASES])
    assert len(cases) > 100
    results = await results_of(settings, shelf, cases, every=EVERYTHING)
    wrong = [f"{one.case.spec.id}: {problem}" for one in results for problem in one.problems]
    assert not wrong, "\n".join(wrong)
    for one in results:
        assert not one.left_out or one.case.spec.toolchains, one.left_out


def case(**changes: object) -> CaseSpec:
    facts = {"id": "a", "kind": 1, "source": "here", "lesson": "no-std", "commands": ["cargo build"], "toolchains": []}
    facts |= {"reached": False, "truth": "So it is.", "say": ["brace"], "not_say": ["forget it"]}
    return CaseSpec.model_validate(facts | changes)


ANSWER = Answer("cargo build", ("A Brace is missing.",), printed="unclosed delimiter", classes=frozenset({"syntax"}))


@pytest.mark.parametrize(
    ("spec", "answer", "problems"),
    [
        (case(), ANSWER, []),
        (case(reached=True), ANSWER, ["is not reached"]),
        (case(say=["bracket"]), ANSWER, ["is not told: bracket"]),
        (case(not_say=["brace"]), ANSWER, ["is told: brace"]),
        (case(say=["bracket"], output=["unclosed"]), ANSWER, []),
        (case(say=["bracket"], output=["closed."]), ANSWER, []),
        (case(say=[], output=["opened"]), ANSWER, ["is not printed: opened"]),
        (case(classes=["syntax", "linker"]), ANSWER, ["is not seen: linker"]),
        (case(accepted=True), Answer("x", ("brace",), refused=True), ["is refused: x"]),
        (case(or_accepted={"reached": False}), Answer("x", ()), []),
        (case(or_accepted={"reached": True}), Answer("x", ()), ["is not reached"]),
    ],
)
def test_an_answer_is_judged(spec: CaseSpec, answer: Answer, problems: list[str]) -> None:
    assert judge_answers(spec, [answer]) == problems


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id = 1", "id: "),
        ("id = ", "Invalid"),
        ('id = "a"', "kind: Field required"),
    ],
)
def test_a_broken_case_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "case.toml").write_text(text)
    with pytest.raises(FieldError, match=says):
        read_case(tmp_path)


def test_a_folder_without_cases_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FieldError, match="There is no case"):
        cases_below([tmp_path])
