"""``playground lessons check``: prove on the real toolchains that each lesson does what it says."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

from packaging.specifiers import SpecifierSet

from app.checks import Seen, foretold, misses, see
from app.command import CommandError, parse
from app.diagnosis import Diagnosis
from app.engine import Engine, Job
from app.events import Event, Verdict
from app.facts import Outcome, at_version
from app.lessons import Expectation, Lesson, Prediction
from app.toolchain import Toolchain


@dataclass(frozen=True)
class Proof:
    """One expectation on one toolchain: proven when ``problems`` is empty."""

    lesson: str
    toolchain: str
    files: str
    command: str
    problems: tuple[str, ...] = ()
    classes: tuple[str, ...] = field(default=())


def reference_problems(lessons: Iterable[Lesson], diagnosis: Diagnosis) -> list[str]:
    """What the lessons and the error classes name that does not exist; needs no toolchain."""
    known = {error.id for error in diagnosis.classes}
    problems = []
    for lesson in lessons:
        facts: list[Outcome] = [*lesson.checks, *lesson.expectations, *(advice.when for advice in lesson.advice)]
        facts += [other for check in lesson.checks for other in check.on.values()]
        facts += [other for expectation in lesson.expectations for other in expectation.on.values()]
        options = lesson.prediction.option if lesson.prediction else ()
        facts += [*options, *(other for option in options for other in option.on.values())]
        named = {name for item in facts for name in item.errors or ()}
        problems += [f"{lesson.slug}: there is no error class {name!r}" for name in sorted(named - known)]
        problems += [f"{lesson.slug}: {text}" for text in _command_problems(lesson)]
    named = {name for advice in diagnosis.advice for name in advice.when.errors or ()}
    return problems + [f"errors.toml: there is no error class {name!r}" for name in sorted(named - known)]


def _command_problems(lesson: Lesson) -> Iterable[str]:
    for line in (*lesson.commands, *(item.command for item in lesson.expectations)):
        try:
            target = parse(line).target
        except CommandError as error:
            yield f"{line!r}: {error}"
        else:
            if target and target not in lesson.targets and line in lesson.commands:
                yield f"{line!r}: {target} stands neither in target nor in targets"
    if not any(item.files == "start" for item in lesson.expectations):
        yield "nothing is expected of start/"
    solved = ("start", "solution") if lesson.solution == lesson.files else ("solution",)
    if not any(item.files in solved and item.reached for item in lesson.expectations):
        yield "no expectation says that the solution reaches the goal"


async def prove(engine: Engine, lessons: Sequence[Lesson], toolchains: Sequence[Toolchain]) -> AsyncIterator[Proof]:
    """Every expectation on every toolchain that has the target of its command, in course order.

    And the prediction: that exactly one of its options is what the first command says to ``start/``.
    """
    for lesson in lessons:
        for toolchain in toolchains:
            if lesson.prediction and toolchain.can_build(lesson.target):
                yield await _prove_prediction(engine, lesson, lesson.prediction, toolchain)
            for expectation in lesson.expectations:
                if _applies(expectation, toolchain):
                    yield await _prove(engine, lesson, expectation, toolchain)


def _applies(expectation: Expectation, toolchain: Toolchain) -> bool:
    if not toolchain.can_build(parse(expectation.command).target):
        return False
    wanted = expectation.toolchains
    return wanted is None or SpecifierSet(wanted, prereleases=True).contains(toolchain.version)


async def _prove(engine: Engine, lesson: Lesson, expectation: Expectation, toolchain: Toolchain) -> Proof:
    files = lesson.files if expectation.files == "start" else lesson.solution
    seen, verdict = await _run(engine, Job(lesson, files, parse(expectation.command), toolchain))
    problems = list(misses(at_version(expectation, expectation.on, toolchain.version), seen))
    if verdict.reached != expectation.reached:
        details = " ".join(check.detail for check in verdict.checks if not check.ok)
        problems.append(f"The goal was {'reached' if verdict.reached else 'not reached'}. {details}".strip())
    return Proof(lesson.slug, toolchain.name, expectation.files, expectation.command, tuple(problems), seen.classes)


async def _prove_prediction(engine: Engine, lesson: Lesson, prediction: Prediction, toolchain: Toolchain) -> Proof:
    command = lesson.commands[0]
    seen, _ = await _run(engine, Job(lesson, lesson.files, parse(command), toolchain))
    right = foretold(prediction, toolchain.version, seen)
    named = " and ".join(option.id for option in right) or "none"
    problems = () if len(right) == 1 else (f"Exactly one option of the prediction should be right: {named} is.",)
    return Proof(lesson.slug, toolchain.name, "predict", command, problems, seen.classes)


async def _run(engine: Engine, job: Job) -> tuple[Seen, Verdict]:
    events: list[Event] = [event async for event in engine.events(engine.submit(job))]
    verdict = events[-1]
    assert isinstance(verdict, Verdict)
    return see(job.command, events, job.toolchain.host), verdict
