"""The verdict on a run: is the lesson's goal reached? ``advice`` helps if it is not.

Pure: takes a lesson and the events of a run, returns a ``Verdict``. The verdict depends only on the command, the
compiler's messages and the contents of the binary, never on the source text.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from app.course.diagnosis import Diagnosis
from app.course.facts import ArtifactFacts, CommandFacts, Facts, MachineFacts, ObservedFacts, RunFacts, at_version
from app.course.lesson import Lesson
from app.course.patterns import matches
from app.course.specs import Detour, Option, Prediction
from app.protocol.command import Command, parse
from app.protocol.events import (
    UNREAD,
    Advice,
    Artifact,
    Check,
    Diagnostic,
    Edit,
    Ended,
    Event,
    Finished,
    Machine,
    Observed,
    Output,
    Queued,
    Screen,
    Started,
    Verdict,
)
from app.protocol.visible import plain

UNKNOWN = "(another error)"
"""The class given to an error that no class in ``errors.toml`` matches."""

_STATUS_WAS = {
    "ok": "succeeded",
    "failed": "failed",
    "timeout": "timed out",
    "cancelled": "was cancelled",
    "limit": "was stopped at a limit",
}
_STATUS_SHOULD = {
    "ok": "succeed",
    "failed": "fail",
    "timeout": "time out",
    "cancelled": "be cancelled",
    "limit": "be stopped at a limit",
}


_MACHINE_ENDS: Mapping[Ended, str] = {
    "exited": "The kernel ended the emulator.",
    "off": "The kernel switched the machine off.",
    "halted": "The machine went to sleep for good.",
    "time": "The machine ran until its time was up.",
    "reset": "The machine began anew after a fault.",
    "lockup": "The processor locked up.",
    "refused": "The emulator did not start the machine.",
    "crashed": "The emulator crashed.",
}


@dataclass(frozen=True)
class FinishedRun:
    """The parts of a finished run that conditions can test."""

    command: Command
    finished: Finished
    errors: tuple[Diagnostic, ...]
    artifact: Artifact | None
    text: str
    host: str = ""
    observed: Observed | None = None
    machine: Machine | None = None
    screen: str = ""
    warnings: tuple[Diagnostic, ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)
    """The learner-facing title of each error class; a class without a title is shown by its id."""

    @property
    def linker(self) -> str:
        """The linker's output: the notes of the errors without a place in the code."""
        return "\n".join(note for error in self.errors if not error.spans for note in error.notes)

    @property
    def classes(self) -> tuple[str, ...]:
        """The run's error classes in order of first appearance, without duplicates."""
        return tuple(dict.fromkeys(error.error_class or UNKNOWN for error in self.errors))


def summarize(command: Command, events: Iterable[Event], host: str = "") -> FinishedRun:  # noqa: C901, PLR0912 - a branch for each type
    """Summarize the events of a run on that host; raise ``ValueError`` if the run has not finished."""
    finished: Finished | None = None
    artifact: Artifact | None = None
    observed: Observed | None = None
    machine: Machine | None = None
    errors: list[Diagnostic] = []
    warnings: list[Diagnostic] = []
    texts: list[str] = []
    screen = ""
    for event in events:
        match event:
            case Finished():
                finished = finished or event
            case Diagnostic():
                if event.level == "warning":
                    warnings.append(event)
                elif event.level.startswith("error") and not event.is_summary:
                    errors.append(event)
            case Artifact():
                artifact = event
            case Output():
                texts.append(plain(event.text))
            case Observed():
                observed = observed or event
            case Machine():
                machine = machine or event
            case Screen():
                screen = "\n".join(row.rstrip() for row in event.text)
            case Queued() | Started() | Edit() | Verdict():
                pass
            case _:
                assert_never(event)
    if finished is None:
        raise ValueError("the run has not finished")
    text = "".join(texts)
    return FinishedRun(
        command, finished, tuple(errors), artifact, text, host, observed, machine, screen, tuple(warnings)
    )


def judge(lesson: Lesson, diagnosis: Diagnosis, version: str, seen: FinishedRun) -> Verdict:
    """Return the verdict on a run by that compiler version, without advice."""
    seen = replace(seen, titles={known.id: known.title for known in diagnosis.classes})
    checks = []
    for spec in lesson.checks:
        facts = at_version(spec, spec.on, version)
        misses = list(_misses(facts, seen))
        checks.append(Check(id=spec.id, title=spec.title, ok=not misses, detail=" ".join(misses)))
    if all(check.ok for check in checks):
        return Verdict(reached=True, checks=tuple(checks))
    return Verdict(reached=False, checks=tuple(checks), detour=_matching_detour(lesson.detours, seen))


def reaches(lesson: Lesson, version: str, seen: FinishedRun) -> bool:
    """Return True if a run by that compiler version reaches the lesson's goal."""
    return not any(any(_misses(at_version(spec, spec.on, version), seen)) for spec in lesson.checks)


def goal_errors(lesson: Lesson, version: str) -> frozenset[str]:
    """Return the error classes that the lesson's goal asks for."""
    facts = (at_version(spec, spec.on, version) for spec in lesson.checks)
    return frozenset(name for one in facts for name in one.errors or ())


def matching_options(prediction: Prediction, version: str, seen: FinishedRun) -> tuple[Option, ...]:
    """Return the options whose facts hold for a run by this compiler version; a sound lesson has exactly one."""
    facts = ((option, at_version(option, option.on, version)) for option in prediction.option)
    return tuple(option for option, outcome in facts if not any(_misses(outcome, seen)))


def misses(facts: RunFacts, seen: FinishedRun) -> tuple[str, ...]:
    """Return one sentence for each condition in ``facts`` that does not hold."""
    return tuple(_misses(facts, seen))


def _misses(facts: RunFacts, seen: FinishedRun) -> Iterable[str]:
    if facts.status and facts.status != seen.finished.status:
        was, should = _STATUS_WAS[seen.finished.status], _STATUS_SHOULD[facts.status]
        yield f"The command {was}, but this step needs it to {should}."
    if facts.errors is not None:
        yield from _error_misses(facts.errors, seen)
    if facts.output is not None and not matches(facts.output, seen.text):
        yield "The output does not show that."
    if facts.linker is not None and not matches(facts.linker, seen.linker):
        yield "The output of the linker does not show that." if seen.linker else "The linker printed nothing."
    if isinstance(facts, Facts) and facts.command:
        yield from _command_misses(facts.command, seen.command, seen.host)
    if facts.artifact:
        yield from _artifact_misses(facts.artifact, seen)
    if facts.observed:
        yield from _observed_misses(facts.observed, seen.observed)
    if facts.exit_code is not None and facts.exit_code != seen.finished.exit_code:
        code = "none" if seen.finished.exit_code is None else seen.finished.exit_code
        yield f"The exit code was {code}; it should be {facts.exit_code}."
    if facts.machine:
        yield from _machine_misses(facts.machine, seen)


def _machine_misses(facts: MachineFacts, seen: FinishedRun) -> Iterable[str]:
    if seen.machine is None:
        if facts.ended != ("none",):
            yield "No machine was started in the emulator."
        return
    if facts.ended is not None and seen.machine.ended not in facts.ended:
        yield _MACHINE_ENDS[seen.machine.ended]
    if facts.screen is not None and not matches(facts.screen, seen.screen):
        yield "The screen of the machine does not show that." if seen.screen else "The machine's screen is empty."


def _error_misses(wanted: Sequence[str], seen: FinishedRun) -> Iterable[str]:
    absent = [name for name in wanted if name not in seen.classes]
    extra = [error for error in seen.errors if (error.error_class or UNKNOWN) not in wanted]
    shown = "; ".join(dict.fromkeys(_describe_error(error, seen) for error in extra[:3]))
    more = f"; and {len(extra) - 3} more" if len(extra) > 3 else ""
    if absent and not seen.errors:
        yield f"Expected an error: {_titles(absent, seen)}. There was none."
    elif absent and extra:
        yield f"Expected: {_titles(absent, seen)}. Got instead: {shown}{more}."
    elif absent:
        yield f"Still expected: {_titles(absent, seen)}."
    elif extra:
        yield f"{'There was an error' if not wanted else 'There is another error'}: {shown}{more}."


def _titles(names: Sequence[str], seen: FinishedRun) -> str:
    return "; ".join(seen.titles.get(name, name) for name in names) or "nothing"


def _describe_error(error: Diagnostic, seen: FinishedRun) -> str:
    message = error.message.splitlines()[0][:160] if error.message else "an error without words"
    return f"{_titles([error.error_class], seen)} ({message})" if error.error_class else message


def _command_misses(facts: CommandFacts, command: Command, host: str) -> Iterable[str]:
    foreign = command.target not in (None, host)
    wanted = " or ".join(f"`{facts.program} {name}`".replace(" `", "`") for name in facts.subcommand or ("",))
    if command.program != facts.program or (facts.subcommand and command.subcommand not in facts.subcommand):
        yield f"The command was `{' '.join(command.argv)[:80]}`; this step is about {wanted}."
    elif facts.flags_by_hand is not None and facts.flags_by_hand != command.flags_by_hand:
        if command.flags_by_hand:
            yield "The flags were typed by hand; here they belong in the configuration."
        else:
            yield "No flags were handed to the compiler on the command line."
    elif facts.target is not None and facts.target != foreign:
        yield "This step builds for the host, without --target." if foreign else "No other --target was named."
    elif absent := [option for option in facts.options if option not in command.options]:
        yield f"The command lacks {_listed(absent)}."


def _artifact_misses(facts: ArtifactFacts, seen: FinishedRun) -> Iterable[str]:
    artifact = seen.artifact
    if artifact is None:
        yield "No executable was built."
        return
    if artifact.format == UNREAD:
        yield "What was built could not be read: it is damaged, or the machine was too busy. Run the command once more."
        return
    if facts.format and facts.format != artifact.format:
        yield f"The binary's format is {artifact.format}, not {facts.format}."
    if facts.machine is not None and artifact.machine not in facts.machine:
        yield f"The binary is for {artifact.machine or 'an unknown machine'}, not for {' or '.join(facts.machine)}."
    if facts.entry is not None and facts.entry != ("set" if artifact.entry else "zero"):
        yield f"The binary's entry address is {artifact.entry or 0:#x}."
    if facts.entry_symbol is not None and facts.entry_symbol != (artifact.entry_symbol or ""):
        yield _entry_miss(facts.entry_symbol, artifact)
    if facts.subsystem is not None and facts.subsystem != artifact.subsystem:
        yield f"The binary's subsystem is {artifact.subsystem or 'not given'}, not {facts.subsystem}."
    yield from _runtime_misses(facts, artifact)


def _observed_misses(facts: ObservedFacts, observed: Observed | None) -> Iterable[str]:
    if observed is None:
        yield "No program was seen to run."
    elif (facts.outcome and facts.outcome != observed.outcome) or (
        facts.reason is not None and observed.reason not in facts.reason
    ):
        yield observed.detail
    elif facts.exit_code is not None and facts.exit_code != observed.exit_code:
        yield f"The exit code was {observed.exit_code}; it should be {facts.exit_code}."
    elif facts.calls is not None and facts.calls != observed.calls:
        yield f"The program's system calls were {_listed(observed.calls)}; they should be {_listed(facts.calls)}."


def _runtime_misses(facts: ArtifactFacts, artifact: Artifact) -> Iterable[str]:
    if facts.needed is not None and set(facts.needed) != set(artifact.needed):
        yield f"The binary needs {_listed(artifact.needed)}; it should need {_listed(facts.needed)}."
    if facts.interpreter == "none" and artifact.interpreter:
        yield f"The binary asks for the dynamic loader {artifact.interpreter}; it should ask for none."
    if facts.interpreter == "any" and not artifact.interpreter:
        yield "The binary asks for no dynamic loader."
    if facts.runtime is not None and set(facts.runtime) != set(artifact.runtime):
        if artifact.runtime:
            yield f"The C runtime is in the binary: it names {_listed(artifact.runtime)}."
        else:
            yield f"The C runtime is not in the binary; {_listed(facts.runtime)} should be named."


def _entry_miss(wanted: str, artifact: Artifact) -> str:
    if not artifact.entry:
        return "The binary's entry address is 0: the linker did not find the name that it was told to begin with."
    if artifact.entry_symbol is None and artifact.format == "PE":
        return f"The binary starts at {artifact.entry:#x}; a program for Windows holds no names."
    if artifact.entry_symbol is None:
        return f"The binary starts at {artifact.entry:#x}, where no name can be seen: its symbols were removed."
    return f"The binary starts at {artifact.entry_symbol}, not at {wanted or 'a place without a name'}."


def _matching_detour(detours: Iterable[Detour], seen: FinishedRun) -> Advice | None:
    """Return the text of the first detour that this run matches."""
    taken = (one for one in detours if parse(one.command) == seen.command and not misses(one, seen))
    return next((Advice(id=one.id, text=one.text) for one in taken), None)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "nothing"
