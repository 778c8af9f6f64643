"""A worker sets up a target on demand, with the real compilers. Only `make test-all` builds a library for that."""

from functools import partial
from pathlib import Path

import anyio
import pytest

from app.course import Course, Lesson
from app.engine.nats.broker import Broker
from app.engine.nats.engine import NatsEngine
from app.engine.nats.inventory import NatsInventory
from app.protocol.command import parse
from app.protocol.events import Event, Finished, Output, Verdict
from app.settings import Settings
from app.toolchain import preferred
from tests.support.broker import WorkerProcess, nats_server
from tests.support.environment import BARE_METAL
from tests.support.jobs import job

pytestmark = pytest.mark.anyio


async def test_a_worker_sets_up_the_target_that_a_run_asks_for(
    settings: Settings, taught: Course, lessons: dict[str, Lesson], open_folder: Path
) -> None:
    with nats_server() as nats:
        inventory = NatsInventory(settings, (taught,), Broker(nats.url))
        # A worker that knows no targets but its own computer's.
        empty = {"PLAYGROUND_CACHE_DIR": str(open_folder / "cache"), "PLAYGROUND_RUN_SECONDS": "300"}
        start = partial(WorkerProcess, nats.url, open_folder / "worker", 1, True, **empty)
        worker = await anyio.to_thread.run_sync(start)
        try:
            async with NatsEngine(settings, inventory, _nothing) as engine:
                with anyio.fail_after(60):
                    while not inventory.workers():  # noqa: ASYNC110 - an inventory tells nobody
                        await anyio.sleep(0.05)
                [before] = await inventory.target_statuses([BARE_METAL])
                assert before.state == "missing"
                await inventory.want([BARE_METAL])
                [wanted] = await inventory.target_statuses([BARE_METAL])
                assert wanted.pending, "a page says so before the worker does"
                lesson = lessons["bare-metal"]
                command = parse(f"cargo build --target {BARE_METAL}")
                # Of the compilers that this worker has: others may be in the cache folder of this machine.
                toolchain = preferred(await inventory.toolchains(), None)
                assert toolchain
                asked = job(lesson, lesson.solution, command, toolchain.name, attended=True)
                await engine.submit(asked)
                prepared = False
                events: list[Event] = []
                with anyio.fail_after(600):
                    async for event in engine.events(asked.run_id):
                        prepared |= (await engine.status(asked.run_id)).preparing
                        events.append(event)
                said = "".join(event.text for event in events if isinstance(event, Output))
                assert prepared, said
                assert next(event for event in events if isinstance(event, Finished)).status == "ok", said
                assert isinstance(events[-1], Verdict)
                assert events[-1].reached
                assert await engine.card(asked.run_id)
                with anyio.fail_after(30):  # until the worker's next announcement
                    while (await inventory.target_statuses([BARE_METAL]))[0].state != "ready":  # noqa: ASYNC110 - an inventory tells nobody
                        await anyio.sleep(0.1)
        finally:
            worker.kill()


async def _nothing(*_: object) -> None:
    """Keep no progress."""
