"""``playground doctor``."""

import json
from typing import Annotated, Any

import typer

from app import toolchain
from app.cli.common import run, settings_of, shelf_of
from app.progress import describe_database
from app.sandbox import IsolationError, detect
from app.settings import Settings


def doctor(as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False) -> None:
    """Report what is installed, what is missing, and the command that fixes it."""
    settings = settings_of()
    shelf = shelf_of(settings)
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


async def _isolation(settings: Settings) -> dict[str, Any]:
    try:
        found = await detect(settings, await toolchain.discover(settings.cache_dir))
    except IsolationError as error:
        return {"level": "none", "notes": [str(error)]}
    return {"level": found.level, "notes": list(found.notes)}
