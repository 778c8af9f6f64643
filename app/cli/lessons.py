"""``playground lessons check``."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from app import toolchain
from app.cli.common import lesson_of, run, settings_of, shelf_of, stop
from app.course import Lesson, Shelf, prove
from app.engine.local import LocalEngine
from app.settings import Settings


def check(
    names: Annotated[list[str] | None, typer.Argument(metavar="[COURSE/]SLUG…", help="Only these lessons.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    record: Annotated[bool, typer.Option("--record", help="Store the compilers' output beside the lessons.")] = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write the matrix of lessons and compilers as a page.")
    ] = None,
) -> None:
    """Prove every lesson's claims on every toolchain of this machine."""
    settings = settings_of()
    shelf = shelf_of(settings)
    chosen = tuple(lesson_of(shelf, name) for name in names) if names else shelf.lessons
    wrong = [*prove.reference_problems(chosen), *prove.neighbour_problems(shelf, chosen)]
    for sentence in (*wrong, *(broken := () if names else shelf.broken.values())):
        typer.echo(sentence, err=True)
    lacking = {lesson.name: toolchain.missing_tools(lesson.needs) for lesson in chosen}
    able = tuple(lesson for lesson in chosen if not lacking[lesson.name])
    proofs, unproven = run(lambda: _prove(settings, shelf, able, as_json=as_json))
    for name, tools in lacking.items():
        if tools:
            typer.echo(f"{name}: {', '.join(tools)} missing; playground setup --all installs it.", err=True)
    for name, triple in unproven:
        typer.echo(f"{name}: nothing here builds for {triple} yet; playground setup --all sets it up.", err=True)
    if record:
        _record(able, proofs)
    if report:
        _report(report, shelf, prove.report_of(datetime.now(UTC), proofs), settings, whole=not names)
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
            stop(f"The recordings cannot be written: {error}")
        for name in changed:
            typer.echo(f"recorded {name}", err=True)


def _report(path: Path, shelf: Shelf, found: prove.CourseReport, settings: Settings, *, whole: bool) -> None:
    from app.web.report import report_page

    try:
        style = (settings.static_dir / "css" / "matrix.css").read_text(encoding="utf-8")
        path.write_text(report_page(shelf.courses, found, style), encoding="utf-8")
        # The server shows the last report, which has to be one of all lessons.
        if whole:
            prove.keep_report(settings.data_dir, found)
    except OSError as error:
        stop(f"The report cannot be written: {error}")


def _proof_line(proof: prove.Proof) -> str:
    mark = "FAIL" if proof.problems else "old " if proof.stale else "ok  "
    seen = ", ".join(proof.classes) or "no error"
    line = f"{mark} {proof.lesson:18} {proof.toolchain:5} {proof.files:8} {proof.command}  → {seen}"
    stale = ["The recording differs from what the compiler prints now; playground lessons check --record renews it."]
    return "\n     ".join([line, *proof.problems, *(stale if proof.stale else [])])
