"""A verdict becomes progress: the step is reached, and the prediction is settled by the run that it is about."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.course import Course, Lesson
from app.course.specs import Prediction
from app.engine import Inventory, JobSpec
from app.progress import Progress
from app.protocol.command import parse
from app.protocol.events import Check, Diagnostic, Event, Finished, Verdict
from app.web.classroom import Classroom
from app.web.keeper import ProgressKeeper, outcome
from tests.support.verdicts import untold

pytestmark = pytest.mark.anyio

SEAT, KEY = "ada", "no-std"
QUESTION: Mapping[str, Any] = {
    "question": "Does it build?",
    "option": [
        {"id": "yes", "text": "Yes", "because": "It does.", "status": "ok"},
        {"id": "no", "text": "No", "because": "It does not.", "status": "failed"},
    ],
}


class OneCompiler:
    """The inventory of a machine with one compiler."""

    async def toolchains(self) -> tuple[object, ...]:
        return (SimpleNamespace(name="1.96", version="1.96.0", host="x86_64-unknown-linux-gnu"),)


@pytest.fixture
def progress(tmp_path: Path) -> Iterator[Progress]:
    progress = Progress(tmp_path / "progress.sqlite3")
    yield progress
    progress.close()


@pytest.fixture
def lesson(lessons: dict[str, Lesson]) -> Lesson:
    return lessons[KEY]


async def settled(
    progress: Progress,
    taught: Course,
    lesson: Lesson,
    *,
    on_start: str | None,
    solved: bool,
    line: str,
    reached: bool,
) -> str | None:
    """Return which option turned out right after one run; None while the question is open."""
    asking = replace(lesson, prediction=Prediction.model_validate({**QUESTION, "on_start": on_start}))
    part, *others = taught.parts
    parts = (replace(part, lessons=tuple(asking if one.slug == KEY else one for one in part.lessons)), *others)
    course = replace(taught, parts=parts)
    keeper = ProgressKeeper(progress, {course.id: course}, cast("Inventory", OneCompiler()), untold)
    await progress.guides.predict(SEAT, KEY, "yes")
    job = JobSpec(
        course=course.id,
        digest=course.digest,
        lesson=KEY,
        files=lesson.solution if solved else lesson.files,
        command=parse(line),
        toolchain="1.96",
        owner=SEAT,
    )
    end = Finished(id=1, status="failed", exit_code=101, seconds=0)
    await keeper.verdict(job, [end], Verdict(id=2, reached=reached, checks=()))
    found = await progress.guides.predicted(SEAT, KEY)
    assert found is not None
    return found.happened


@pytest.mark.parametrize("solved", [True, False])
@pytest.mark.parametrize("line", ["cargo build", "cargo check"])
async def test_the_run_that_reaches_the_goal_settles_the_prediction(
    progress: Progress, taught: Course, lesson: Lesson, solved: bool, line: str
) -> None:
    run = partial(settled, progress, taught, lesson, on_start=None, solved=solved, line=line)
    assert await run(reached=False) is None
    assert await run(reached=True) == "no"


@pytest.mark.parametrize(
    ("solved", "line", "option"),
    [
        (False, "cargo check", "no"),
        (False, "cargo build", None),
        (True, "cargo check", None),
    ],
)
async def test_a_prediction_on_the_start_is_settled_by_that_command_on_unedited_files(
    progress: Progress, taught: Course, lesson: Lesson, solved: bool, line: str, option: str | None
) -> None:
    asked = {"on_start": "cargo check", "solved": solved, "line": line, "reached": True}
    assert await settled(progress, taught, lesson, **asked) == option  # type: ignore[arg-type]  # the case's fields


async def test_a_verdict_that_is_stored_again_after_a_restart_is_one_try_of_the_class(
    progress: Progress, taught: Course, lesson: Lesson
) -> None:
    await progress.room.open(1.0, {})
    await progress.room.join(SEAT, "Ada", 1.0)
    job = JobSpec(
        course=taught.id,
        digest=taught.digest,
        lesson=KEY,
        files=lesson.files,
        command=parse("cargo build"),
        toolchain="1.96",
        owner=SEAT,
    )
    end = Finished(id=1, status="failed", exit_code=101, seconds=0)
    for _ in range(2):
        tried = Classroom(progress.room, taught).tried
        keeper = ProgressKeeper(progress, {taught.id: taught}, cast("Inventory", OneCompiler()), tried)
        await keeper.verdict(job, [end], Verdict(id=2, reached=False, checks=()))
    assert len(await progress.room.tries(names=False)) == 1


def test_the_outcome_of_a_run_is_its_first_error_and_its_failed_checks(taught: Course, lesson: Lesson) -> None:
    def message(level: str, name: str | None) -> Diagnostic:
        given = {"level": level, "code": None, "message": "m", "rendered": "fn secret() {}", "class": name}
        return Diagnostic.model_validate({"id": 1, **given})

    end = Finished(id=9, status="failed", exit_code=101, seconds=1.5)
    events: list[Event] = [
        message("warning", "unused"),
        message("error", None),
        message("error", "gone"),
        message("error", "x"),
        end,
    ]
    checks = (Check(id="command", title="", ok=True), Check(id="errors", title="", ok=False))
    found = outcome(taught, lesson, events, Verdict(id=10, reached=False, checks=checks))
    assert (found.error, found.failed, found.status, found.seconds) == ("gone", ("errors",), "failed", 1.5)
    assert (found.lesson, found.course, found.digest) == (KEY, taught.id, taught.digest)
    assert "secret" not in repr(found)
