"""``playground doctor``."""

import json
from typing import Annotated, Any

import typer

from app import toolchain
from app.cli.common import run, settings_of, shelf_of, stop
from app.course import Shelf
from app.progress import describe_database
from app.sandbox import IsolationError, detect
from app.settings import Settings


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
    engine: Annotated[str | None, typer.Option(help="Show the workers at this NATS server instead.")] = None,
) -> None:
    """Report what is installed, what is missing, and the command that fixes it."""
    settings = settings_of(**({} if engine is None else {"engine": engine}))
    shelf = shelf_of(settings)
    if settings.engine != "local":
        _workers(settings, shelf, as_json=as_json)
        return
    lessons = {lesson.name: lesson.targets for lesson in shelf.lessons}
    report = run(lambda: toolchain.examine(settings.cache_dir, lessons, shelf.essential_targets))
    isolation = run(lambda: _isolation(settings))
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


def _workers(settings: Settings, shelf: Shelf, *, as_json: bool) -> None:
    """Show the workers; exit with 1 if none can be used."""
    from app.engine import EngineUnavailableError
    from app.engine.nats.broker import UnusableBrokerError
    from app.engine.nats.inventory import roster, table

    try:
        workers = run(lambda: roster(settings, shelf.courses))
    except (UnusableBrokerError, EngineUnavailableError) as error:
        stop(str(error))
    if as_json:
        told = [one.model_dump(mode="json") | {"refused": refused} for one, refused in workers]
        typer.echo(json.dumps({"workers": told}, indent=2))
    else:
        typer.echo(table(workers))
    if not any(refused is None and not one.draining for one, refused in workers):
        raise typer.Exit(1)


async def _isolation(settings: Settings) -> dict[str, Any]:
    try:
        found = await detect(settings, await toolchain.discover(settings.cache_dir))
    except IsolationError as error:
        return {"level": "none", "notes": [str(error)]}
    return {"level": found.level, "notes": list(found.notes)}
