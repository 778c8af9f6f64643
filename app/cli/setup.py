"""``playground setup``."""

import sys
from typing import Annotated

import typer

from app import toolchain
from app.cli.common import run, settings_of, shelf_of, stop
from app.cli.console import Console
from app.settings import Settings


def setup(
    target: Annotated[list[str] | None, typer.Option(help="A target triple to set up; may be repeated.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every target and program of every lesson.")] = False,
    era: Annotated[bool, typer.Option("--era", help="Also unpack the compiler from the time of the post.")] = False,
    name: Annotated[
        str | None, typer.Option("--toolchain", help="Only add the targets, and to this toolchain, such as 1.95.")
    ] = None,
) -> None:
    """Set up the toolchain and the essential targets. Other targets are set up when a lesson needs them."""
    settings = settings_of()
    shelf = shelf_of(settings)
    further = [triple for lesson in shelf.lessons for triple in lesson.targets] if everything else []
    wanted = tuple(dict.fromkeys((*(target or shelf.essential_targets), *further)))
    if name:
        _add_to(settings, name, wanted)
        return
    tools = dict.fromkeys(tool for lesson in shelf.lessons for tool in lesson.needs) if everything else {}
    with Console(sys.stdout) as say:
        ready = run(lambda: toolchain.setup(settings.cache_dir, say, wanted, shelf.essential_targets))
        if era and not run(lambda: toolchain.setup_era(settings.cache_dir, say)):
            say("The course works without the compiler from the time of the post; the lessons quote its messages.")
        ready = run(lambda: toolchain.setup_tools(tools, say)) and ready
        if not ready:
            say("The course can be served anyway; lessons that lack something say so.")
            raise typer.Exit(1)


def _add_to(settings: Settings, name: str, targets: tuple[str, ...]) -> None:
    """Set up targets for one toolchain, even if another one has them."""
    if not any(one.name == name for one in run(lambda: toolchain.discover(settings.cache_dir))):
        stop(f"There is no toolchain {name} here.")
    with Console(sys.stdout) as say:
        try:
            lacking = run(lambda: toolchain.add_targets(settings.cache_dir, say, targets, name))
        except OSError as error:
            stop(f"The cache folder {settings.cache_dir} cannot be used: {error.strerror or error}.")
    if lacking:
        stop(f"Rust {name} still cannot build for {' and '.join(lacking)}.")
