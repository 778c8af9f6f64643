"""``playground serve``."""

import logging
from collections.abc import Callable
from typing import Annotated

import typer

from app.cli.common import refuse, settings_of
from app.course import CourseError
from app.settings import Settings


def serve(
    host: Annotated[str | None, typer.Option(help="Address to serve on.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port to serve on.", min=0, max=65535)] = None,
    engine: Annotated[str | None, typer.Option(help="local, or the NATS server of the workers.")] = None,
    only_check: Annotated[bool, typer.Option("--check", help="Only say what would happen; change nothing.")] = False,
) -> None:
    """Serve the course."""
    from app.cli.check import check

    given = {name: value for name, value in (("host", host), ("port", port), ("engine", engine)) if value is not None}
    settings = settings_of(**given)
    if only_check:
        raise typer.Exit(0 if check(settings, typer.echo) else 1)
    serve_or_stop(settings)


def serve_or_stop(settings: Settings, announce: Callable[[int], None] | None = None) -> None:
    """Serve, or stop with a sentence that says why not. ``announce`` gets the port once it is open."""
    from app.cli.server import ServeError, serve_forever

    try:
        serve_forever(settings, announce)
    except (ServeError, CourseError) as error:
        refuse(settings, logging.getLogger("app.cli.server"), str(error))
