"""``playground field``."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import anyio
import typer

from app import toolchain
from app.cli.common import run, settings_of, shelf_of, stop
from app.course import Shelf
from app.course.field import FieldBench, FieldResult
from app.course.field_cases import FieldCase, FieldError, cases_below
from app.engine.local import LocalEngine
from app.settings import Settings


def field(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR…", help="Folders with cases.")],
    every: Annotated[bool, typer.Option("--all", help="Run each case on every compiler of this machine.")] = False,
    only: Annotated[
        str | None, typer.Option("--toolchain", help="Run each case on this compiler, such as 1.63.")
    ] = None,
) -> None:
    """Run field cases: crates and commands that learners typed, and the answers that they must get."""
    settings = settings_of()
    shelf = shelf_of(settings)
    try:
        cases = cases_below(folders)
        results = run(lambda: results_of(settings, shelf, cases, every=every, only=only))
    except FieldError as error:
        stop(str(error))
    for result in results:
        if result.problems:
            typer.echo(f"{result.case.spec.id} ({result.case.spec.lesson}): {'; '.join(result.problems)}")
    for line in left_out(results):
        typer.echo(line)
    ran = [result for result in results if result.ran or result.problems]
    right = sum(not result.problems for result in ran)
    typer.echo(f"{right} of {len(ran)} field cases got a right answer ({', '.join(_counts(ran))})")
    if right < len(ran):
        raise typer.Exit(1)


async def results_of(
    settings: Settings, shelf: Shelf, cases: list[FieldCase], *, every: bool = False, only: str | None = None
) -> list[FieldResult]:
    """Run the cases, as many at once as the engine runs, and return their results in order.

    ``every`` is for every compiler, ``only`` for the one of that name; raises ``FieldError`` if it is not here.
    """
    found = await toolchain.discover(settings.cache_dir)
    chosen = [one for one in found if only in (None, one.name)]
    if only and not chosen:
        raise FieldError(f"There is no toolchain {only} here; there is {', '.join(one.name for one in found)}.")
    results: dict[str, FieldResult] = {}
    async with LocalEngine(settings, shelf.courses) as engine:
        bench = FieldBench(engine, shelf, settings.file_bytes, chosen, every or only is not None)

        async def add(case: FieldCase) -> None:
            results[case.spec.id] = await bench.result(case)

        async with anyio.create_task_group() as tasks:
            for case in cases:
                tasks.start_soon(add, case)
    return [results[case.spec.id] for case in cases]


def left_out(results: Iterable[FieldResult]) -> Iterator[str]:
    """Yield a line for each reason for which cases were not run: the compilers, the cases and the reason."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for result in results:
        reasons: dict[str, list[str]] = {}
        for one in result.left_out:
            reasons.setdefault(one.reason, []).append(one.toolchain)
        for reason, names in reasons.items():
            grouped.setdefault((", ".join(names), reason), []).append(result.case.spec.id)
    for (compilers, reason), ids in grouped.items():
        yield f"left out on {compilers}: {', '.join(ids)}. {reason}".strip()


def _counts(results: Iterable[FieldResult]) -> Iterator[str]:
    """Yield for each compiler how many cases ran on it."""
    names = [name for result in results for name in result.ran]
    yield from (f"{names.count(name)} on {name}" for name in sorted(set(names), key=_release))


def _release(name: str) -> list[int]:
    return [int(part) for part in name.split(".")]
