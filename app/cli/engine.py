"""``playground engine init``."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import stop


def init(
    folder: Annotated[Path, typer.Argument(help="A new folder for keys, certificates and server.conf.")],
    host: Annotated[
        list[str] | None,
        typer.Option(help="A name or address of the broker besides this computer's own; the first is listened on."),
    ] = None,
) -> None:
    """Write what a NATS server needs for workers on other machines: keys, certificates, and a configuration."""
    try:
        from app.engine.nats.keys import init as write
    except ModuleNotFoundError:
        stop("Keys and certificates need further packages: pip install 'freestanding-playground[cluster]'.")
    folder = folder.absolute()
    try:
        write(folder, host or ())
    except FileExistsError:
        stop(f"{folder} exists. Name a folder that does not, or delete it to make new keys.")
    except OSError as error:
        stop(f"{folder} cannot be written: {error.strerror}.")
    print(f"nats-server --config {folder}/server.conf starts the broker.")
    print(f"The web needs {folder}/web, each worker {folder}/worker: set PLAYGROUND_ENGINE_KEYS to where it lies,")
    print("and PLAYGROUND_ENGINE to tls:// and the broker's address. Copy nothing else to other machines.")
