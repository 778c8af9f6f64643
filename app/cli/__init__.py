"""The command ``playground``: one module for each of its commands."""

import signal
from typing import Annotated

import typer

from app import __version__
from app.cli import classroom, doctor, engine, field, lessons, serve, setup, trial, worker

cli = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
_lessons = typer.Typer(no_args_is_help=True, help="Work on the lessons.", rich_markup_mode=None)
_engine = typer.Typer(
    no_args_is_help=True, help="Prepare a broker for workers on other machines.", rich_markup_mode=None
)
_engine.callback()(lambda: None)
cli.command()(serve.serve)
cli.command()(setup.setup)
cli.command()(doctor.doctor)
cli.add_typer(classroom.classroom, name="class")
cli.add_typer(_lessons, name="lessons")
cli.add_typer(_engine, name="engine")
_engine.command()(engine.init)
_lessons.command()(lessons.check)
cli.command("try")(trial.try_lesson)
cli.command()(field.field)
cli.command()(worker.worker)


def main() -> None:
    """Run the installed command."""
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
