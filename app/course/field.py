"""Run field cases, and judge the answers that learners get."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.course.field_cases import CaseSpec, Expected, FieldCase
from app.course.lesson import Lesson
from app.course.shelf import Shelf
from app.engine import Engine, JobSpec, has_built
from app.protocol.command import CommandError, parse
from app.protocol.events import Diagnostic, Event, Output, Verdict
from app.protocol.visible import plain
from app.run.workspace import EditError, configured_targets, merge
from app.toolchain import Toolchain, addition, default_toolchain

_LONGEST = 90


@dataclass(frozen=True)
class Answer:
    """The texts that a learner reads after one command: the playground's own, and the output on one line."""

    command: str
    told: tuple[str, ...]
    refused: bool = False
    printed: str = ""
    classes: frozenset[str] = frozenset()
    reached: bool = False


@dataclass(frozen=True)
class LeftOut:
    """A compiler on which a case was not run, and the reason as a sentence."""

    toolchain: str
    reason: str


@dataclass(frozen=True)
class FieldResult:
    """A case, the compilers on which it ran, what is wrong with its answers there, and where it did not run."""

    case: FieldCase
    ran: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class FieldBench:
    """Runs cases on the compilers ``toolchains``; ``every`` runs each case on each of them."""

    engine: Engine
    shelf: Shelf
    file_bytes: int
    toolchains: Sequence[Toolchain]
    every: bool = False

    async def result(self, case: FieldCase) -> FieldResult:
        """Run a case on each compiler that it is for, or only on the one that the lesson would choose among them."""
        lesson = self.shelf.find(case.spec.lesson)
        if lesson is None:
            return FieldResult(case, problems=(f"there is no lesson {case.spec.lesson}",))
        chosen, left_out = self._chosen(case.spec, lesson)
        ran: list[str] = []
        problems: dict[str, list[str]] = {}
        for toolchain in chosen:
            expected = case.spec.at(toolchain.version, stable=toolchain.stable)
            lacking = self._lacking(case, lesson, toolchain)
            if lacking and expected.needs_target:
                left_out.append(LeftOut(toolchain.name, addition(toolchain, lacking)))
                continue
            ran.append(toolchain.name)
            for problem in judge_answers(expected, await self._answers(case, lesson, toolchain)):
                problems.setdefault(problem, []).append(toolchain.name)
        found = tuple(f"{problem} (on {', '.join(on)})" for problem, on in problems.items())
        return FieldResult(case, tuple(ran), found, tuple(left_out))

    def _chosen(self, spec: CaseSpec, lesson: Lesson) -> tuple[list[Toolchain], list[LeftOut]]:
        """Return the compilers on which the case shall run, and those that it is not for."""
        fitting = [one for one in self.toolchains if spec.is_for(one.version, stable=one.stable)]
        if self.every:
            return fitting, [LeftOut(one.name, spec.why) for one in self.toolchains if one not in fitting]
        default = default_toolchain(fitting, lesson)
        if default is None:
            return [], [LeftOut(" or ".join(spec.toolchains) or "Rust", "It is not here.")]
        return [default], []

    def _lacking(self, case: FieldCase, lesson: Lesson, toolchain: Toolchain) -> list[str]:
        """Return the targets that lessons use, that the case builds for, and that the compiler lacks."""
        offered = {target for one in self.shelf.lessons for target in one.targets}
        files = {**lesson.files, **case.files}
        named = dict.fromkeys(target for line in case.spec.commands for target in _targets_of(line, files))
        return [target for target in named if target in offered and not toolchain.can_build(target)]

    async def _answers(self, case: FieldCase, lesson: Lesson, toolchain: Toolchain) -> list[Answer]:
        course = self.shelf.course_of(lesson)
        files = case.files_for(toolchain.version)
        edits = {path: text for path, text in files.items() if path not in lesson.files or path in lesson.editable}
        answers: list[Answer] = []
        built: str | None = None
        for line in case.spec.commands:
            try:
                command = parse(line, course.crate)
                crate = merge(lesson, edits, self.file_bytes)
            except (CommandError, EditError) as error:
                answers.append(Answer(line, (_one_line(str(error)),), refused=True))
                continue
            job = JobSpec(
                course=course.id,
                digest=course.digest,
                lesson=lesson.slug,
                files=crate,
                command=command,
                toolchain=toolchain.name,
                after=built,
            )
            run_id = await self.engine.submit(job)
            events = [event async for event in self.engine.events(run_id)]
            built = run_id if await has_built(self.engine, run_id) else built
            answers.append(answer_of(line, events))
        return answers


def _targets_of(line: str, files: Mapping[str, str]) -> tuple[str, ...]:
    """Return the targets that a command builds for; none if it is refused or builds nothing."""
    try:
        command = parse(line)
    except CommandError:
        return ()
    if command.kind != "cargo":
        return ()
    return (command.target,) if command.target else configured_targets(files)


def answer_of(command: str, events: Sequence[Event]) -> Answer:
    """Return what a learner reads after a run that has its verdict."""
    verdict = next(event for event in events if isinstance(event, Verdict))
    told = (*(advice.text for advice in verdict.advice), *(check.detail for check in verdict.checks))
    texts = [_text(event) for event in events]
    classes = {event.error_class for event in events if isinstance(event, Diagnostic) and event.error_class}
    lines = tuple(_one_line(text) for text in told if text.strip())
    return Answer(
        command, lines, printed=_one_line("".join(texts)), classes=frozenset(classes), reached=verdict.reached
    )


def _text(event: Event) -> str:
    if isinstance(event, Output):
        return plain(event.text)
    return plain(event.rendered) if isinstance(event, Diagnostic) else ""


def judge_answers(expected: Expected, answers: Sequence[Answer]) -> list[str]:
    """Return what is wrong with the answers to a case's commands."""
    refused = [answer for answer in answers if answer.refused]
    reached = any(answer.reached for answer in answers)
    told = [line for answer in answers for line in answer.told]
    printed = [" ".join(answer.printed for answer in answers)]
    classes = frozenset[str]().union(*(answer.classes for answer in answers))
    wanted, say, output = expected.reached, expected.say, expected.output
    if not refused and expected.or_accepted:
        wanted, say, output = expected.or_accepted.reached, expected.or_accepted.say, ()
    problems = [f"is refused: {refused[0].command}"] if expected.accepted and refused else []
    if reached is not wanted:
        problems.append("is not reached" if wanted else "is reached, and should not be")
    untold = _absent(say, told)
    unprinted = _absent(output, printed)
    if untold and (unprinted or not output):
        problems += [f"is not told: {_short(pattern)}" for pattern in untold]
    if unprinted and not say:
        problems += [f"is not printed: {_short(pattern)}" for pattern in unprinted]
    problems += [f"is told: {_short(one)}" for one in expected.not_say if not _absent([one], told)]
    problems += [f"is not seen: {name}" for name in expected.classes if name not in classes]
    return problems


def _absent(patterns: Iterable[str], texts: Sequence[str]) -> list[str]:
    return [one for one in patterns if not any(re.search(one, text, re.IGNORECASE) for text in texts)]


def _short(pattern: str) -> str:
    return pattern if len(pattern) <= _LONGEST else pattern[: _LONGEST - 1] + "…"


def _one_line(text: str) -> str:
    return " ".join(text.split())
