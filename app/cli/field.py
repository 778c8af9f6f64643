"""``playground field``."""

from pathlib import Path
from typing import Annotated

import anyio
import typer

from app import toolchain
from app.cli.common import run, settings_of, shelf_of, stop
from app.course import Lesson, Shelf
from app.course.field import FieldBench, FieldCase, FieldError, FieldResult, cases_below
from app.engine.local import LocalEngine
from app.settings import Settings


def field(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR…", help="Folders with cases.")],
    every: Annotated[bool, typer.Option("--all", help="Run each case on every compiler that it names.")] = False,
) -> None:
    """Run field cases: crates and commands that learners typed, and the answers that they must get."""
    settings = settings_of()
    shelf = shelf_of(settings)
    try:
        cases = cases_below(folders)
    except FieldError as error:
        stop(str(error))
    results = run(lambda: results_of(settings, shelf, cases, every=every))
    for result in results:
        where = f"{result.case.spec.id} ({result.case.spec.lesson})"
        if result.problems:
            typer.echo(f"{where}: {'; '.join(result.problems)}")
        elif result.left_out:
            typer.echo(f"{where}: left out: {result.left_out}")
    ran = [result for result in results if not result.left_out]
    right = sum(not result.problems for result in ran)
    typer.echo(f"{right} of {len(ran)} field cases got a right answer")
    if right < len(ran):
        raise typer.Exit(1)


async def results_of(settings: Settings, shelf: Shelf, cases: list[FieldCase], *, every: bool) -> list[FieldResult]:
    """Run the cases, as many at once as the engine runs, and return their results in order."""
    found = await toolchain.discover(settings.cache_dir)
    results: dict[str, FieldResult] = {}

    def default(lesson: Lesson) -> str | None:
        chosen = toolchain.preferred(found, lesson.target, *lesson.further_targets, versions=lesson.compilers)
        return chosen.name if chosen else None

    async with LocalEngine(settings, shelf.courses) as engine:
        bench = FieldBench(engine, shelf, settings.file_bytes, [one.name for one in found], default, every)

        async def add(case: FieldCase) -> None:
            results[case.spec.id] = await bench.result(case)

        async with anyio.create_task_group() as tasks:
            for case in cases:
                tasks.start_soon(add, case)
    return [results[case.spec.id] for case in cases]
