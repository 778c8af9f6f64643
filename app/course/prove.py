"""``playground lessons check``: prove on real toolchains that each lesson's claims hold."""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from pathlib import Path

import anyio

from app.course.checks import FinishedRun, matching_options, misses, summarize
from app.course.facts import at_version, in_range
from app.course.lesson import Lesson
from app.course.loading import RECORDED
from app.course.model import Course
from app.course.quotation import generations_without, quote, quotes
from app.course.recordings import Recording, RecordingError, RecordingKey, record, renewed, to_text
from app.course.shelf import Shelf
from app.course.specs import NEIGHBOURS, Expectation, Prediction
from app.engine import Engine, JobSpec
from app.protocol.command import Command, CommandError, parse
from app.protocol.events import Artifact, Event, Verdict
from app.run.workspace import configured_targets
from app.toolchain import Toolchain

_REPORT = "compilers.json"
_BATCH = 4
"""Lessons that are proven at once. At the end of a batch, slots of the engine stay empty."""
_AT_ONCE = 4
"""Runs that are submitted at once. Engines limit how many runs of one owner may wait."""


@dataclass(frozen=True)
class Proof:
    """One expectation on one toolchain, proven if ``problems`` is empty.

    ``stale`` is True if the recording beside the lesson differs from what the compiler prints now.
    """

    lesson: str
    toolchain: str
    files: str
    command: str
    problems: tuple[str, ...] = ()
    classes: tuple[str, ...] = field(default=())
    stale: bool = False
    run: Recording | None = None

    def facts(self) -> Mapping[str, object]:
        """Return the proof as JSON-serializable values, without the run."""
        return {name: value for name, value in vars(self).items() if name != "run"}


@dataclass(frozen=True)
class CourseReport:
    """The proofs of a check of the whole course, its time, and the names of the toolchains that are nightlies."""

    at: datetime
    proofs: tuple[Proof, ...]
    nightlies: tuple[str, ...] = ()


def report_of(at: datetime, proofs: Sequence[Proof]) -> CourseReport:
    """Return the report of these proofs, which were found at that time."""
    nightlies = {one.toolchain for one in proofs if one.run and _is_nightly(one.run)}
    return CourseReport(at, tuple(proofs), tuple(sorted(nightlies)))


def keep_report(folder: Path, report: CourseReport) -> None:
    """Write the report to the folder, replacing an earlier one. Raises ``OSError``."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = folder / f"{_REPORT}.new"
    proofs = [dict(one.facts()) for one in report.proofs]
    kept = {"at": report.at.isoformat(), "proofs": proofs, "nightlies": report.nightlies}
    draft.write_text(json.dumps(kept))
    draft.rename(folder / _REPORT)


def last_report(folder: Path) -> CourseReport | None:
    """Return the stored report, or None if there is none or it cannot be read."""
    try:
        found = json.loads((folder / _REPORT).read_text())
        proofs = (one | {name: tuple(one[name]) for name in ("problems", "classes")} for one in found["proofs"])
        nightlies = tuple(found.get("nightlies", ()))
        return CourseReport(datetime.fromisoformat(found["at"]), tuple(Proof(**one) for one in proofs), nightlies)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def reference_problems(lessons: Iterable[Lesson]) -> list[str]:
    """Return the problems with the commands, quotations and advice of the lessons. Needs no toolchain."""
    return [
        f"{lesson.name}: {text}"
        for lesson in lessons
        for text in (*_command_problems(lesson), *_quote_problems(lesson))
    ]


def neighbour_problems(shelf: Shelf, lessons: Iterable[Lesson]) -> list[str]:
    """Return the lessons without an expectation for the files of a neighbouring step."""
    return [
        f"{lesson.name}: {text}" for lesson in lessons for text in _neighbour_problems(shelf.course_of(lesson), lesson)
    ]


def _neighbour_problems(course: Course, lesson: Lesson) -> Iterable[str]:
    """Yield the neighbouring steps for whose files there is no expectation."""
    expected = {item.files for item in lesson.expectations}
    for name in NEIGHBOURS:
        there = course.beside(lesson, name) is not None
        if there and name not in expected:
            yield f"nothing is expected of the files of the {name} step: add an expectation with files = {name!r}"
        if name in expected and not there:
            yield f"there is no {name} step"


def _quote_problems(lesson: Lesson) -> Iterable[str]:
    expected = {(item.files, item.command) for item in lesson.expectations}
    for info in quotes(lesson.text):
        try:
            wanted = quote(info)
        except RecordingError as error:
            yield f"text.md: {error}"
        else:
            if (wanted.files, wanted.command) not in expected:
                yield f"text.md: {info!r}: no expectation runs {wanted.command!r} on {wanted.files}/"
            for generation in generations_without(lesson.recordings, wanted):
                yield f"text.md: {info!r}: the recording of {generation} has no such lines"


def _command_problems(lesson: Lesson) -> Iterable[str]:
    asked = lesson.prediction.on_start if lesson.prediction else None
    further = (line for line in (asked, lesson.prefill) if line)
    for line in (*lesson.commands, *further, *(item.command for item in lesson.expectations)):
        try:
            target = parse(line).target
        except CommandError as error:
            yield f"{line!r}: {error}"
        else:
            if target and target not in lesson.targets and line in lesson.commands:
                yield f"{line!r}: {target} stands neither in target nor in targets"
    yield from _detour_problems(lesson)
    if not any(item.files == "start" for item in lesson.expectations):
        yield "nothing is expected of start/"
    for item in lesson.expectations:
        if not item.reached and item.advice is None and item.detour is None:
            yield f'{item.command!r} on {item.files} misses the goal, and no advice is named; advice = "" is none'
    solved = ("start", "solution") if lesson.solution == lesson.files else ("solution",)
    if not any(item.files in solved and item.reached for item in lesson.expectations):
        yield "no expectation says that the solution reaches the goal"
    if lesson.prediction and not _is_asked_for(lesson, lesson.prediction):
        yield f"predict: the text does not ask for {asked or 'any command that reaches the goal'}"


def _detour_problems(lesson: Lesson) -> Iterable[str]:
    proven = {(item.detour, parse(item.command).argv) for item in lesson.expectations if item.detour}
    for detour in lesson.detours:
        if detour.command not in lesson.text:
            yield f"detour {detour.id}: the text does not ask for {detour.command!r}"
        elif (detour.id, parse(detour.command).argv) not in proven:
            yield f"detour {detour.id}: no expectation proves it"


def _is_asked_for(lesson: Lesson, prediction: Prediction) -> bool:
    """Return True if the text names a command that settles the prediction."""
    reaching = (item.command for item in lesson.expectations if item.reached)
    settling = (prediction.on_start,) if prediction.on_start else reaching
    return any(line in lesson.text for line in settling)


async def prove(
    engine: Engine, shelf: Shelf, lessons: Sequence[Lesson], toolchains: Sequence[Toolchain]
) -> AsyncIterator[Proof]:
    """Prove each expectation on each toolchain that has the target of its command; yield the proofs in course order.

    A command that inspects a binary gets the one that the same files built last. A prediction is proven too: exactly
    one option must match the run that it is about, the same one in every run that reaches the goal. Several lessons and
    their toolchains run concurrently, as many runs at a time as the engine allows.
    """
    turns = anyio.Semaphore(_AT_ONCE)
    for first in range(0, len(lessons), _BATCH):
        batch = lessons[first : first + _BATCH]
        benches = [
            _Bench(engine, shelf.course_of(lesson), lesson, toolchain, turns)
            for lesson in batch
            for toolchain in toolchains
        ]
        found: list[list[Proof]] = [[] for _ in benches]
        async with anyio.create_task_group() as tasks:
            for bench, proofs in zip(benches, found, strict=True):
                tasks.start_soon(_prove_on, bench, proofs)
        for proof in chain.from_iterable(found):
            yield proof


@dataclass(frozen=True)
class _Bench:
    """Runs a lesson's commands by one toolchain."""

    engine: Engine
    course: Course
    lesson: Lesson
    toolchain: Toolchain
    turns: anyio.Semaphore

    async def run(
        self, files: Mapping[str, str], command: Command, after: str | None = None
    ) -> tuple[str, list[Event]]:
        """Return the run's id and its events once it has ended."""
        job = JobSpec(
            course=self.course.id,
            digest=self.course.digest,
            lesson=self.lesson.slug,
            files=files,
            command=command,
            toolchain=self.toolchain.name,
            after=after,
        )
        async with self.turns:
            run_id = await self.engine.submit(job)
            return run_id, [event async for event in self.engine.events(run_id)]


async def _prove_on(bench: _Bench, found: list[Proof]) -> None:
    lesson = bench.lesson
    prediction = lesson.prediction
    if prediction and prediction.on_start:
        needed = (lesson.target, parse(prediction.on_start).target)
        if all(bench.toolchain.can_build(target) for target in needed):
            found.append(await _prove_on_start(bench, prediction, prediction.on_start))
    built: dict[str, str] = {}
    for expectation in lesson.expectations:
        if _applies(bench, expectation):
            proof = await _prove(bench, expectation, built)
            found.append(proof)
    if prediction and not prediction.on_start:
        found += _prove_on_goal(bench, prediction, found)


def _applies(bench: _Bench, expectation: Expectation) -> bool:
    lesson, toolchain = bench.lesson, bench.toolchain
    files = bench.course.files_of(lesson, expectation.files)
    command = parse(expectation.command)
    target = lesson.target if command.needs_artifact else command.target or next(iter(configured_targets(files)), None)
    able = toolchain.can_build(target)
    if able == expectation.lacks_target or not expectation.is_for(toolchain.host):
        return False
    wanted = expectation.toolchains
    return wanted is None or in_range(toolchain.version, wanted)


async def _prove(bench: _Bench, expectation: Expectation, built: dict[str, str]) -> Proof:
    lesson, toolchain = bench.lesson, bench.toolchain
    files = bench.course.files_of(lesson, expectation.files)
    command = parse(expectation.command)
    name = (lesson.name, toolchain.name, expectation.files, expectation.command)
    after = built.get(expectation.files) if command.needs_artifact else None
    if command.needs_artifact and after is None:
        return Proof(*name, problems=("No earlier expectation builds an artifact that it could inspect.",))
    run_id, events = await bench.run(files, command, after)
    if any(isinstance(event, Artifact) for event in events):
        built[expectation.files] = run_id
    verdict = events[-1]
    assert isinstance(verdict, Verdict)
    seen = summarize(command, events, toolchain.host)
    wanted = at_version(expectation, expectation.on, toolchain.version)
    problems = list(misses(wanted, seen))
    if verdict.reached != expectation.reached:
        details = " ".join(check.detail for check in verdict.checks if not check.ok)
        problems.append(f"The goal was {'reached' if verdict.reached else 'not reached'}. {details}".strip())
    given = ", ".join(advice.id for advice in verdict.advice)
    if not verdict.reached and not verdict.detour and wanted.advice is not None and wanted.advice != given:
        problems.append(f"The advice was {given or 'none'}; it should be {wanted.advice or 'none'}.")
    answered = verdict.detour.id if verdict.detour else None
    if answered != expectation.detour:
        problems.append(f"It was answered as the detour {answered}, not {expectation.detour}.")
    what = RecordingKey(expectation.files, expectation.command, toolchain.version, toolchain.host, toolchain.source)
    run = record(what, events)
    recorded = None if expectation.is_neighbour else run
    return Proof(*name, tuple(problems), seen.classes, _is_stale(lesson, run), recorded)


async def _prove_on_start(bench: _Bench, prediction: Prediction, line: str) -> Proof:
    lesson, toolchain = bench.lesson, bench.toolchain
    command = parse(line)
    _, events = await bench.run(lesson.files, command)
    seen = summarize(command, events, toolchain.host)
    return Proof(
        lesson.name,
        toolchain.name,
        "predict",
        line,
        _problems_unless_one(_right_options(prediction, bench, seen)),
        seen.classes,
    )


def _prove_on_goal(bench: _Bench, prediction: Prediction, proofs: Sequence[Proof]) -> list[Proof]:
    """Return a proof for each run that reached the goal. The right option must be the same in all of them."""
    reaching = {(one.files, one.command) for one in bench.lesson.expectations if one.reached}
    found, first = [], ""
    for proof in proofs:
        if proof.run is None or (proof.files, proof.command) not in reaching:
            continue
        right = _right_options(
            prediction, bench, summarize(parse(proof.command), proof.run.events, bench.toolchain.host)
        )
        problems = _problems_unless_one(right)
        if not problems and first and right[0] != first:
            problems = (f"Another run that reaches the goal makes {first} right, this one {right[0]}.",)
        first = first or "".join(right[:1])
        found.append(Proof(proof.lesson, proof.toolchain, "predict", proof.command, problems, proof.classes))
    return found


def _right_options(prediction: Prediction, bench: _Bench, seen: FinishedRun) -> tuple[str, ...]:
    return tuple(option.id for option in matching_options(prediction, bench.toolchain.version, seen))


def _problems_unless_one(right: Sequence[str]) -> tuple[str, ...]:
    named = " and ".join(right) or "none"
    return () if len(right) == 1 else (f"Exactly one option of the prediction should be right: {named} is.",)


def _is_stale(lesson: Lesson, run: Recording) -> bool:
    """Return True if a recording of the same compiler at the same isolation level says something else.

    The level matters because the crate's folder differs between levels, and the length of its path changes the size of
    the artifact.
    """
    alike = (one for one in lesson.recordings if (one.what, one.level) == (run.what, run.level))
    return not all(one.says_the_same(run) for one in alike)


def _is_nightly(run: Recording) -> bool:
    return "-" in run.what.version


def keep(lesson: Lesson, proofs: Iterable[Proof]) -> list[str]:
    """Write a lesson's proven runs beside it, one file per compiler generation; return the names of the changed files.

    Recordings that this machine cannot prove stay unchanged. Nightly compilers are left out, because a particular
    nightly is hard to obtain again. Raises ``OSError``.
    """
    runs: dict[str, list[Recording]] = defaultdict(list)
    for proof in proofs:
        if proof.run and not proof.problems and not _is_nightly(proof.run):
            runs[proof.run.what.generation].append(proof.run)
    changed = []
    expected = [(one.files, one.command) for one in lesson.expectations]
    for generation, new in runs.items():
        path = lesson.folder / RECORDED / f"{generation}.jsonl"
        old = tuple(one for one in lesson.recordings if one.what.generation == generation)
        if (kept := renewed(old, new, expected)) != old:
            path.parent.mkdir(exist_ok=True)
            path.write_text(to_text(kept), encoding="utf-8")
            changed.append(f"{lesson.folder.name}/{RECORDED}/{path.name}")
    return changed
