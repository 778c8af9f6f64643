"""``playground worker``."""

import logging
from typing import Annotated

import typer

from app.cli import heap, logs
from app.cli.common import refuse, run, settings_of, shelf_of, stop
from app.sandbox import IsolationError
from app.settings import warnings_about_unknown_names

_log = logging.getLogger(__name__)


def worker(
    engine: Annotated[str | None, typer.Option(help="Address of the NATS server, such as nats://host:4222.")] = None,
    slots: Annotated[int | None, typer.Option(help="Concurrent runs.", min=1)] = None,
) -> None:
    """Execute runs for a server with the same --engine."""
    from app.engine.nats.broker import UnusableBrokerError
    from app.engine.nats.process import work

    given = {name: value for name, value in (("engine", engine), ("max_runs", slots)) if value is not None}
    settings = settings_of(**given)
    if settings.engine == "local":
        stop("A worker needs the address of a NATS server: --engine nats://host:4222, or PLAYGROUND_ENGINE.")
    heap.keep_small()
    logs.configure(settings)
    for sentence in warnings_about_unknown_names():
        _log.warning(sentence)
    courses = shelf_of(settings).courses

    def begun(name: str) -> None:
        heap.freeze()
        if settings.log_format == "text":
            print(f"Worker {name} takes runs from {settings.engine} (stop it with Ctrl-C)", flush=True)
        _log.info("Worker %s takes runs from %s", name, settings.engine)

    try:
        run(lambda: work(settings, courses, begun))
    except (UnusableBrokerError, IsolationError, OSError) as error:
        refuse(settings, _log, str(error))
