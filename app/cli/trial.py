"""``playground try``."""

import dataclasses
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated, assert_never

import typer

from app import toolchain
from app.binary import Card
from app.cli.common import lesson_of, run, settings_of, shelf_of, stop
from app.course import Lesson, Shelf
from app.engine import Engine, JobSpec, RunStatus, has_built
from app.engine.local import LocalEngine
from app.protocol.command import CommandError, parse
from app.protocol.events import (
    Artifact,
    Diagnostic,
    Edit,
    Event,
    Finished,
    Machine,
    Observed,
    Output,
    Queued,
    Screen,
    Started,
    Verdict,
    to_json,
)
from app.run.workspace import EditError, merge
from app.settings import Settings
from app.toolchain import Toolchain


def try_lesson(
    lesson_name: Annotated[str, typer.Argument(metavar="[COURSE/]SLUG", help="The lesson.")],
    directory: Annotated[Path | None, typer.Option("--dir", help="Take the editable files from this folder.")] = None,
    command: Annotated[list[str] | None, typer.Option(help="A command to run; may be repeated, in order.")] = None,
    name: Annotated[str | None, typer.Option("--toolchain", help="The toolchain, such as 1.96.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one event per line, as JSON.")] = False,
    timing: Annotated[bool, typer.Option("--timing", help="Print the time of each stage to standard error.")] = False,
) -> None:
    """Run a lesson's start, or DIR's files, and print the events. Exits with 0 if the goal is reached, else with 1."""
    settings = settings_of()
    shelf = shelf_of(settings)
    lesson = lesson_of(shelf, lesson_name)
    course = shelf.course_of(lesson)
    try:
        commands = [parse(line, course.crate) for line in command or lesson.commands[:1]]
        files = merge(lesson, _read_edits(lesson, directory), settings.file_bytes)
    except (CommandError, EditError) as error:
        stop(str(error))
    chosen = _toolchain(settings, lesson, name)
    common = {"course": course.id, "digest": course.digest, "lesson": lesson.slug, "toolchain": chosen.name}
    jobs = [JobSpec(**common, files=files, command=parsed) for parsed in commands]
    reached = run(lambda: _try(settings, shelf, jobs, as_json=as_json, timing=timing))
    if reached is None:
        stop("There is no artifact to inspect yet; put a --command that builds one first.")
    if not reached:
        raise typer.Exit(1)


async def _try(
    settings: Settings, shelf: Shelf, jobs: Sequence[JobSpec], *, as_json: bool, timing: bool
) -> bool | None:
    """Run the jobs in order, each on the last artifact. Return None if one needs an artifact and there is none."""
    reached = False
    built: str | None = None
    async with LocalEngine(settings, shelf.courses) as engine:
        for job in jobs:
            if job.command.needs_artifact and built is None:
                return None
            run_id = await engine.submit(job.model_copy(update={"after": built}))
            async for event in _events_with_card(engine, run_id) if as_json else engine.events(run_id):
                if as_json:
                    typer.echo(to_json(event))
                else:
                    _print_plain(event)
                reached = reached or (isinstance(event, Verdict) and event.reached)
            built = run_id if await has_built(engine, run_id) else built
            if timing:
                _print_timing(await engine.status(run_id))
    return reached


async def _events_with_card(engine: Engine, run_id: str) -> AsyncIterator[Event]:
    """Yield the run's events. From the artifact on, they wait for the verdict, after which its card can be read."""
    delayed: list[Event] = []
    async for event in engine.events(run_id):
        if not delayed and not isinstance(event, Artifact):
            yield event
            continue
        delayed.append(event)
        if isinstance(event, Verdict):
            card = await engine.card(run_id)
            for one in delayed:
                yield _with_card(one, card) if card and isinstance(one, Artifact) else one


def _with_card(event: Artifact, card: Card) -> Artifact:
    """Return the event with the fields of the card that it does not have itself."""
    further = {name: value for name, value in dataclasses.asdict(card).items() if name not in ("facts", "bytes")}
    return event.model_copy(update={"card": further})


def _print_timing(status: RunStatus) -> None:
    for stage, took in status.timing.items():
        typer.echo(f"{stage:8}{took:9.2f} ms", err=True)


def _print_plain(event: Event) -> None:  # noqa: C901 - a branch for each type
    match event:
        case Output():
            typer.echo(event.text, nl=False)
        case Diagnostic():
            typer.echo(event.rendered, nl=False)
        case Observed():
            typer.echo(event.detail)
        case Machine():
            typer.echo(f"\n{event.meaning}")
        case Started():
            if event.note:
                typer.echo(event.note)
        case Edit():
            typer.echo(f"{event.path} would be:\n\n{event.text}")
        case Verdict():
            typer.echo("The goal is reached." if event.reached else "The goal is not reached.")
            for check in event.checks:
                typer.echo(f"  {'✓' if check.ok else '✗'} {check.title}{': ' + check.detail if check.detail else ''}")
            for advice in (event.detour,) if event.detour else event.advice:
                typer.echo(f"  → {advice.title + ': ' if advice.title else ''}{advice.text}")
        case Queued() | Artifact() | Screen() | Finished():
            pass
        case _:
            assert_never(event)


def _read_edits(lesson: Lesson, directory: Path | None) -> dict[str, str]:
    if directory is None:
        return {}
    if not directory.is_dir():
        stop(f"{directory} is not a folder.")
    edits = {}
    for path in lesson.editable:
        if (directory / path).is_file():
            try:
                edits[path] = (directory / path).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                stop(f"{directory / path} cannot be read: {error}")
    if not edits:
        stop(f"{directory} holds none of the files that this lesson lets you edit: {', '.join(lesson.editable)}.")
    return edits


def _toolchain(settings: Settings, lesson: Lesson, name: str | None) -> Toolchain:
    found = run(lambda: toolchain.discover(settings.cache_dir))
    if name is None:
        chosen = toolchain.default_toolchain(found, lesson)
    else:
        chosen = next((one for one in found if one.name == name), None)
    if chosen is None:
        names = ", ".join(one.name for one in found) or "none at all"
        stop(f"There is no toolchain {name or ''} here; there is {names}.")
    return chosen
