"""Field cases: crates and commands that learners really typed, and what each must be told.

``docs/lesson-format.md`` describes a case's folder for authors.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from app.course.facts import Content
from app.course.lesson import Lesson
from app.course.shelf import Shelf
from app.engine import Engine, JobSpec, has_built
from app.protocol.command import CommandError, parse
from app.protocol.events import Diagnostic, Event, Output, Verdict
from app.protocol.visible import plain
from app.run.workspace import EditError, merge

MANIFEST = "case.toml"
_LONGEST = 90


class FieldError(Exception):
    """A case that cannot be read or run; the message names the case and the reason."""


def _patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    return patterns


class OrAccepted(Content):
    """The expectation for an accepted command, where a truthful refusal is right as well."""

    reached: bool
    say: tuple[str, ...] = ()

    _readable = field_validator("say")(_patterns)


class CaseSpec(Content):
    """A ``case.toml``."""

    id: str = Field(min_length=1)
    kind: int
    source: str = Field(min_length=1)
    lesson: str
    commands: tuple[str, ...] = Field(min_length=1)
    toolchains: tuple[str, ...]
    reached: bool
    truth: str = Field(min_length=1)
    say: tuple[str, ...]
    not_say: tuple[str, ...]
    output: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    accepted: bool = False
    or_accepted: OrAccepted | None = None

    _readable = field_validator("say", "not_say", "output")(_patterns)


@dataclass(frozen=True)
class FieldCase:
    """A case and the files beside its ``case.toml``."""

    spec: CaseSpec
    files: Mapping[str, str]


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
class FieldResult:
    """A case and what is wrong with its answers; ``left_out`` says why it was not run."""

    case: FieldCase
    problems: tuple[str, ...] = ()
    left_out: str = ""


@dataclass
class FieldBench:
    """Runs cases: ``toolchains`` are the names that are here; ``default`` names a lesson's own."""

    engine: Engine
    shelf: Shelf
    file_bytes: int
    toolchains: Sequence[str]
    default: Callable[[Lesson], str | None]
    every: bool = False

    async def result(self, case: FieldCase) -> FieldResult:
        """Run a case on its compilers, or only on one: the lesson's default if the case names it, else its first."""
        lesson = self.shelf.find(case.spec.lesson)
        if lesson is None:
            return FieldResult(case, (f"there is no lesson {case.spec.lesson}",))
        default = self.default(lesson)
        wanted = case.spec.toolchains or ((default,) if default else ())
        here = [name for name in wanted if name in self.toolchains]
        if not here:
            return FieldResult(case, left_out=f"Rust {' or '.join(wanted) or 'with its target'} is not here")
        if not self.every:
            here = [default] if default in here else here[:1]
        problems: dict[str, list[str]] = {}
        for name in here:
            for problem in judge_answers(case.spec, await self._answers(case, lesson, name)):
                problems.setdefault(problem, []).append(name)
        return FieldResult(case, tuple(f"{problem} (on {', '.join(on)})" for problem, on in problems.items()))

    async def _answers(self, case: FieldCase, lesson: Lesson, toolchain: str) -> list[Answer]:
        course = self.shelf.course_of(lesson)
        edits = {path: text for path, text in case.files.items() if path not in lesson.files or path in lesson.editable}
        answers: list[Answer] = []
        built: str | None = None
        for line in case.spec.commands:
            try:
                command = parse(line, course.crate)
                files = merge(lesson, edits, self.file_bytes)
            except (CommandError, EditError) as error:
                answers.append(Answer(line, (_one_line(str(error)),), refused=True))
                continue
            job = JobSpec(
                course=course.id,
                digest=course.digest,
                lesson=lesson.slug,
                files=files,
                command=command,
                toolchain=toolchain,
                after=built,
            )
            run_id = await self.engine.submit(job)
            events = [event async for event in self.engine.events(run_id)]
            built = run_id if await has_built(self.engine, run_id) else built
            answers.append(answer_of(line, events))
        return answers


def read_case(folder: Path) -> FieldCase:
    """Read the case in a folder; raises ``FieldError``."""
    path = folder / MANIFEST
    try:
        spec = CaseSpec.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        files = {
            one.relative_to(folder).as_posix(): one.read_bytes().decode()
            for one in sorted(folder.rglob("*"))
            if one.is_file() and one != path
        }
    except ValidationError as error:
        wrong = (f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors())
        raise FieldError(f"{path}: {'; '.join(wrong)}") from error
    except (OSError, ValueError) as error:
        raise FieldError(f"{path}: {error}") from error
    if spec.id != folder.name:
        raise FieldError(f"{path}: id: the folder is called {folder.name}")
    return FieldCase(spec, files)


def cases_below(folders: Iterable[Path]) -> list[FieldCase]:
    """Read every case below the folders; raises ``FieldError``."""
    found = [read_case(path.parent) for folder in folders for path in sorted(folder.rglob(MANIFEST))]
    if not found:
        raise FieldError(f"There is no {MANIFEST} below these folders.")
    return found


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


def judge_answers(spec: CaseSpec, answers: Sequence[Answer]) -> list[str]:
    """Return what is wrong with the answers to a case's commands."""
    refused = [answer for answer in answers if answer.refused]
    reached = any(answer.reached for answer in answers)
    told = [line for answer in answers for line in answer.told]
    printed = [" ".join(answer.printed for answer in answers)]
    classes = frozenset[str]().union(*(answer.classes for answer in answers))
    wanted, say, output = spec.reached, spec.say, spec.output
    if not refused and spec.or_accepted:
        wanted, say, output = spec.or_accepted.reached, spec.or_accepted.say, ()
    problems = [f"is refused: {refused[0].command}"] if spec.accepted and refused else []
    if reached is not wanted:
        problems.append("is not reached" if wanted else "is reached, and should not be")
    untold = _absent(say, told)
    unprinted = _absent(output, printed)
    if untold and (unprinted or not output):
        problems += [f"is not told: {_short(pattern)}" for pattern in untold]
    if unprinted and not say:
        problems += [f"is not printed: {_short(pattern)}" for pattern in unprinted]
    problems += [f"is told: {_short(one)}" for one in spec.not_say if not _absent([one], told)]
    problems += [f"is not seen: {name}" for name in spec.classes if name not in classes]
    return problems


def _absent(patterns: Iterable[str], texts: Sequence[str]) -> list[str]:
    return [one for one in patterns if not any(re.search(one, text, re.IGNORECASE) for text in texts)]


def _short(pattern: str) -> str:
    return pattern if len(pattern) <= _LONGEST else pattern[: _LONGEST - 1] + "…"


def _one_line(text: str) -> str:
    return " ".join(text.split())
