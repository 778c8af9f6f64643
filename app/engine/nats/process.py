"""The process of a worker: connects, takes jobs, and drains when it is told to stop."""

import signal
from collections.abc import Callable, Iterable

import anyio

from app.course import Course
from app.engine.inventory import find_setup
from app.engine.nats.broker import Broker
from app.engine.nats.subjects import largest_message
from app.engine.nats.worker import NatsWorker
from app.engine.scratch import ensure_private
from app.settings import Settings

_CONNECT_SECONDS = 30.0


async def work(settings: Settings, courses: Iterable[Course], begun: Callable[[str], None]) -> None:
    """Execute runs until SIGTERM or SIGINT; ``begun`` gets the worker's name once it takes jobs.

    Raises ``UnusableBrokerError``, ``IsolationError``, and ``OSError`` if the scratch folder cannot be used.
    """
    ensure_private(settings.scratch_dir)
    found = await find_setup(settings)
    largest = largest_message(settings.body_bytes, settings.output_bytes)
    broker = await Broker(settings.engine, "worker", settings.engine_keys).connect(_CONNECT_SECONDS, largest)
    try:
        worker = NatsWorker(settings, courses, broker, found)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_drain_on_signal, worker)
            await worker.serve(lambda: begun(worker.id))
            tasks.cancel_scope.cancel()
    finally:
        await broker.close()


async def _drain_on_signal(worker: NatsWorker) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            worker.drain()
