"""``playground serve``."""

import logging
from typing import Annotated

import typer

from app.cli.common import BAD_USE, settings_of, stop
from app.course import CourseError


def serve(
    host: Annotated[str | None, typer.Option(help="Address to serve on.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port to serve on.", min=0, max=65535)] = None,
    only_check: Annotated[bool, typer.Option("--check", help="Only say what would happen; change nothing.")] = False,
) -> None:
    """Serve the course."""
    from app.cli.check import check
    from app.cli.server import ServeError, serve_forever

    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = settings_of(**given)
    if only_check:
        raise typer.Exit(0 if check(settings, typer.echo) else 1)
    try:
        serve_forever(settings)
    except (ServeError, CourseError) as error:
        if settings.log_format == "json":
            logging.getLogger("app.cli.server").critical(str(error))
            raise typer.Exit(BAD_USE) from None
        stop(str(error))
