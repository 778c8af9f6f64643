"""The command ``playground``: serve, setup, doctor, lessons check, try."""

import dataclasses
import json
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar, assert_never

import anyio
import typer

from app import __version__, toolchain
from app.binary import Card
from app.cli.console import Console
from app.course import Lesson, LessonError, Shelf, load_shelf, prove
from app.engine import Engine, JobSpec, NothingBuiltError
from app.engine.local import LocalEngine
from app.progress import describe_database
from app.protocol.command import CommandError, parse
from app.protocol.events import (
    Artifact,
    Diagnostic,
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
from app.sandbox import IsolationError, detect
from app.settings import Settings
from app.toolchain import Toolchain

_T = TypeVar("_T")
_BAD_USE = 2

cli = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
_lessons = typer.Typer(no_args_is_help=True, help="Work on the lessons.", rich_markup_mode=None)
cli.add_typer(_lessons, name="lessons")


def main() -> None:
    """The entry point of the installed command."""
    # A shell starts background jobs with SIGINT ignored, and Python keeps it ignored: `kill -INT` would do nothing.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    cli()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"playground {__version__}")
        raise typer.Exit


@cli.callback()
def _playground(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A playground for courses on Rust, on the real cargo toolchain."""


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to serve on.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port to serve on.", min=0, max=65535)] = None,
) -> None:
    """Serve the course."""
    from app.cli.server import ServeError, serve_forever

    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = _settings(**given)
    try:
        serve_forever(settings)
    except (ServeError, LessonError) as error:
        if settings.log_format == "json":
            logging.getLogger("app.cli.server").critical(str(error))
            raise typer.Exit(_BAD_USE) from None
        _stop(str(error))


@cli.command()
def setup(
    target: Annotated[list[str] | None, typer.Option(help="A target triple to make ready; may repeat.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every target and program of every lesson.")] = False,
    era: Annotated[bool, typer.Option("--era", help="Also unpack the compiler of the post's time.")] = False,
) -> None:
    """Make the toolchain and the essential targets ready; the other targets follow when a lesson needs them."""
    settings = _settings()
    shelf = _load(settings)
    further = [triple for lesson in shelf.lessons for triple in lesson.targets] if everything else []
    wanted = tuple(dict.fromkeys((*(target or shelf.essential_targets), *further)))
    tools = dict.fromkeys(tool for lesson in shelf.lessons for tool in lesson.needs) if everything else {}
    with Console(sys.stdout) as say:
        ready = _run(lambda: toolchain.setup(settings.cache_dir, say, wanted, shelf.essential_targets))
        if era and not _run(lambda: toolchain.setup_era(settings.cache_dir, say)):
            say("The course works without the compiler of the post's time; the lessons quote its words.")
        ready = _run(lambda: toolchain.setup_tools(tools, say)) and ready
        if not ready:
            say("The course can be served all the same; the lessons that lack something say what.")
            raise typer.Exit(1)


@cli.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False) -> None:
    """Say what is here, what is missing, and the command that mends it."""
    settings = _settings()
    shelf = _load(settings)
    lessons = {lesson.name: lesson.targets for lesson in shelf.lessons}
    report = _run(lambda: toolchain.examine(settings.cache_dir, lessons, shelf.essential_targets))
    isolation = _run(lambda: _isolation(settings))
    database = describe_database(settings.data_dir / "progress.sqlite3")
    if as_json:
        further = {"isolation": isolation, "database": database}
        typer.echo(json.dumps(report.model_dump(mode="json") | further, indent=2))
    else:
        typer.echo(report.to_text())
        typer.echo(
            "\n".join(["", f"Isolation of runs: {isolation['level']}", *(f"  {note}" for note in isolation["notes"])])
        )
        typer.echo(f"Progress: {database}")


async def _isolation(settings: Settings) -> dict[str, Any]:
    try:
        found = await detect(settings, await toolchain.discover(settings.cache_dir))
    except IsolationError as error:
        return {"level": "none", "notes": [str(error)]}
    return {"level": found.level, "notes": list(found.notes)}


@_lessons.command("check")
def lessons_check(
    names: Annotated[list[str] | None, typer.Argument(metavar="[COURSE/]SLUG…", help="Only these lessons.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    record: Annotated[bool, typer.Option("--record", help="Keep what the compilers print beside the lessons.")] = False,
    report: Annotated[Path | None, typer.Option("--report", help="Write lessons and compilers as a page.")] = None,
) -> None:
    """Prove on every toolchain here that each start does what the lesson says and each solution reaches the goal."""
    settings = _settings()
    shelf = _load(settings)
    chosen = tuple(_lesson(shelf, name) for name in names) if names else shelf.lessons
    wrong = prove.reference_problems(chosen)
    for sentence in (*wrong, *(broken := () if names else shelf.broken.values())):
        typer.echo(sentence, err=True)
    lacking = {lesson.name: toolchain.missing_tools(lesson.needs) for lesson in chosen}
    able = tuple(lesson for lesson in chosen if not lacking[lesson.name])
    proofs, unproven = _run(lambda: _prove(settings, shelf, able, as_json=as_json))
    for name, tools in lacking.items():
        if tools:
            typer.echo(f"{name}: {', '.join(tools)} missing; playground setup --all installs it.", err=True)
    for name, triple in unproven:
        typer.echo(f"{name}: nothing here builds for {triple} yet; playground setup --all makes it ready.", err=True)
    if record:
        _record(able, proofs)
    if report:
        _report(report, shelf, prove.Report(datetime.now(UTC), tuple(proofs)), settings, whole=not names)
    failed = any(proof.problems or (proof.stale and not record) for proof in proofs)
    if wrong or broken or failed or unproven or any(lacking.values()):
        raise typer.Exit(1)


async def _prove(
    settings: Settings, shelf: Shelf, lessons: tuple[Lesson, ...], *, as_json: bool
) -> tuple[list[prove.Proof], list[tuple[str, str | None]]]:
    toolchains = await toolchain.discover(settings.cache_dir)
    unproven = {
        (each.name, triple or "this computer")
        for each in lessons
        for triple in toolchain.missing(toolchains, each.targets)
    }
    proofs = []
    async with LocalEngine(settings, shelf.courses) as engine:
        async for proof in prove.prove(engine, shelf, lessons, engine.inventory.usable(toolchains)):
            proofs.append(proof)
            typer.echo(json.dumps(proof.facts()) if as_json else _proof_line(proof))
    return proofs, sorted(unproven, key=str)


def _record(lessons: tuple[Lesson, ...], proofs: Sequence[prove.Proof]) -> None:
    for lesson in lessons:
        try:
            changed = prove.keep(lesson, (proof for proof in proofs if proof.lesson == lesson.name))
        except OSError as error:
            _stop(f"The recordings cannot be written: {error}")
        for name in changed:
            typer.echo(f"recorded {name}", err=True)


def _report(path: Path, shelf: Shelf, found: prove.Report, settings: Settings, *, whole: bool) -> None:
    from app.web.report import report_page

    try:
        style = (settings.static_dir / "css" / "matrix.css").read_text(encoding="utf-8")
        path.write_text(report_page(shelf.courses, found, style), encoding="utf-8")
        # The server shows what was proven last; of single lessons its page is not made.
        if whole:
            prove.keep_report(settings.data_dir, found)
    except OSError as error:
        _stop(f"The report cannot be written: {error}")


def _proof_line(proof: prove.Proof) -> str:
    mark = "FAIL" if proof.problems else "old " if proof.stale else "ok  "
    seen = ", ".join(proof.classes) or "no error"
    line = f"{mark} {proof.lesson:18} {proof.toolchain:5} {proof.files:8} {proof.command}  → {seen}"
    stale = ["The compiler does not say any more what is recorded; playground lessons check --record records it anew."]
    return "\n     ".join([line, *proof.problems, *(stale if proof.stale else [])])


@cli.command("try")
def try_lesson(
    lesson_name: Annotated[str, typer.Argument(metavar="[COURSE/]SLUG", help="The lesson.")],
    directory: Annotated[Path | None, typer.Option("--dir", help="Take the editable files from here.")] = None,
    command: Annotated[list[str] | None, typer.Option(help="What to run; may repeat, in order.")] = None,
    name: Annotated[str | None, typer.Option("--toolchain", help="Which toolchain, such as 1.96.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One event a line, as JSON.")] = False,
) -> None:
    """Run a lesson's start, or DIR's files, and print the events; exit 0 when the goal is reached, 1 when not."""
    settings = _settings()
    shelf = _load(settings)
    lesson = _lesson(shelf, lesson_name)
    course = shelf.course_of(lesson)
    try:
        commands = [parse(line, course.crate) for line in command or lesson.commands[:1]]
        files = merge(lesson, _read_edits(lesson, directory), settings.file_bytes)
    except (CommandError, EditError) as error:
        _stop(str(error))
    chosen = _toolchain(settings, lesson, name)
    common = {"course": course.id, "digest": course.digest, "lesson": lesson.slug, "toolchain": chosen.name}
    jobs = [JobSpec(**common, files=files, command=parsed) for parsed in commands]
    reached = _run(lambda: _try(settings, shelf, jobs, as_json=as_json))
    if reached is None:
        _stop("Nothing has been built that could be looked at; give a --command that builds before it.")
    if not reached:
        raise typer.Exit(1)


async def _try(settings: Settings, shelf: Shelf, jobs: Sequence[JobSpec], *, as_json: bool) -> bool | None:
    """Run the jobs in order, each on what the last one built; None when one has nothing to look at."""
    reached = False
    built: str | None = None
    async with LocalEngine(settings, shelf.courses) as engine:
        for job in jobs:
            if job.command.needs_artifact and built is None:
                return None
            run_id = await engine.submit(job.model_copy(update={"after": built}))
            reached = await _follow(engine, run_id, as_json=as_json) or reached
            built = run_id if await _has_built(engine, run_id) else built
    return reached


async def _follow(engine: Engine, run_id: str, *, as_json: bool) -> bool:
    reached = False
    async for event in _carded(engine, run_id) if as_json else engine.events(run_id):
        (_print_json if as_json else _print_plain)(event)
        reached = isinstance(event, Verdict) and event.reached
    return reached


async def _carded(engine: Engine, run_id: str) -> AsyncIterator[Event]:
    """The run's events, the one of its artefact with the card, which can be read once the run has ended."""
    held: list[Event] = []
    async for event in engine.events(run_id):
        if not held and not isinstance(event, Artifact):
            yield event
            continue
        held.append(event)
        if isinstance(event, Verdict):
            card = await engine.card(run_id)
            for one in held:
                yield one.model_copy(update={"card": _card(card)}) if card and isinstance(one, Artifact) else one


def _card(card: Card) -> dict[str, Any]:
    """What the card says beyond the event's own fields."""
    return {name: value for name, value in dataclasses.asdict(card).items() if name not in ("facts", "bytes")}


async def _has_built(engine: Engine, run_id: str) -> bool:
    try:
        await engine.artifact(run_id)
    except NothingBuiltError:
        return False
    return True


def _print_json(event: Event) -> None:
    typer.echo(to_json(event))


def _print_plain(event: Event) -> None:
    match event:
        case Output():
            typer.echo(event.text, nl=False)
        case Diagnostic():
            typer.echo(event.rendered, nl=False)
        case Observed():
            typer.echo(event.detail)
        case Machine():
            typer.echo(f"\n{event.meaning}")
        case Verdict():
            typer.echo("The goal is reached." if event.reached else "The goal is not reached.")
            for check in event.checks:
                typer.echo(f"  {'✓' if check.ok else '✗'} {check.title}{': ' + check.detail if check.detail else ''}")
            for advice in (event.detour,) if event.detour else event.advice:
                typer.echo(f"  → {advice.text}")
        case Queued() | Started() | Artifact() | Screen() | Finished():
            pass
        case _:
            assert_never(event)


def _read_edits(lesson: Lesson, directory: Path | None) -> dict[str, str]:
    if directory is None:
        return {}
    if not directory.is_dir():
        _stop(f"{directory} is no folder.")
    edits = {}
    for path in lesson.editable:
        if (directory / path).is_file():
            try:
                edits[path] = (directory / path).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                _stop(f"{directory / path} cannot be read: {error}")
    if not edits:
        _stop(f"{directory} holds none of the files that this lesson lets you edit: {', '.join(lesson.editable)}.")
    return edits


def _toolchain(settings: Settings, lesson: Lesson, name: str | None) -> Toolchain:
    found = _run(lambda: toolchain.discover(settings.cache_dir))
    if name is None:
        chosen = toolchain.preferred(found, lesson.target, *lesson.further_targets, versions=lesson.compilers)
    else:
        chosen = next((one for one in found if one.name == name), None)
    if chosen is None:
        names = ", ".join(one.name for one in found) or "none at all"
        _stop(f"There is no toolchain {name or ''} here; there is {names}.")
    return chosen


def _lesson(shelf: Shelf, name: str) -> Lesson:
    found = shelf.find(name)
    if found is None:
        _stop(f"There is no lesson {name!r}; there are {', '.join(lesson.name for lesson in shelf.lessons)}.")
    return found


def _load(settings: Settings) -> Shelf:
    try:
        return load_shelf(settings.lessons_dir, settings.course)
    except LessonError as error:
        _stop(str(error))


def _settings(**given: Any) -> Settings:
    try:
        return Settings(**given)
    except ValueError as error:
        _stop(f"A PLAYGROUND_ setting cannot be used: {error}")


def _run(work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    try:
        return anyio.run(work)
    except KeyboardInterrupt:
        _stop("Interrupted.", code=130)


def _stop(sentence: str, code: int = _BAD_USE) -> NoReturn:
    print(sentence, file=sys.stderr)
    raise typer.Exit(code)
