"""A worker process: takes jobs from the broker, executes them on this machine, and writes their logs."""

import logging
import platform
import re
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any

import anyio
from anyio.abc import TaskGroup
from nats.aio.msg import Msg

from app import __version__
from app.course import Course
from app.engine import EngineUnavailableError
from app.engine.inventory import LocalSetup
from app.engine.local import LocalEngine
from app.engine.nats import subjects
from app.engine.nats.adoption import Adoption
from app.engine.nats.answers import Answers
from app.engine.nats.attempt import Attempt, WorkerParts
from app.engine.nats.broker import Broker, Gone, subject_of
from app.engine.nats.holding import Holding
from app.engine.nats.runlog import Lease
from app.engine.nats.source import JobSource
from app.protocol.job import JobSpec
from app.protocol.worker import WorkerInfo
from app.settings import Settings

_log = logging.getLogger(__name__)
_ANNOUNCE_SECONDS = 1.0
DRAIN_SECONDS = 8.0
"""Seconds in which a worker that is told to stop finishes its runs."""


class _Slot:
    """One of the places for runs. It is given back once, at the end of the process or else of the run."""

    def __init__(self, places: anyio.Semaphore) -> None:
        self._places: anyio.Semaphore | None = places

    def free(self) -> None:
        places, self._places = self._places, None
        if places:
            places.release()


class NatsWorker:
    """Executes jobs of the broker, ``settings.max_runs`` at a time."""

    def __init__(
        self, settings: Settings, courses: Iterable[Course], broker: Broker, found: LocalSetup | None = None
    ) -> None:
        self.id = f"{re.sub(r'[^A-Za-z0-9-]', '-', platform.node())[:32]}-{secrets.token_hex(4)}"
        courses = tuple(courses)
        self._slots = settings.max_runs
        self._courses = {course.id: course.digest for course in courses}
        self._targets = tuple({target for course in courses for lesson in course.lessons for target in lesson.targets})
        keep = settings.keep_answers
        self._engine = LocalEngine(settings, courses, found=found, on_demand=True, keep_answers=keep, ahead=True)
        self._broker = broker
        self._counts: Counter[str] = Counter()
        self._attempts: dict[str, Attempt] = {}
        self._source = JobSource(broker)
        self._adoption = Adoption(broker, self._engine)
        self._answers = Answers(self._engine, self._adoption)
        self._holding = Holding(broker, self.id, self._lease_of)
        self._parts = WorkerParts(self.id, broker, self._engine, self._adoption, self._holding, self._count)
        self._places = anyio.Semaphore(self._slots)
        self._draining = anyio.Event()

    async def serve(self, begun: Callable[[], None]) -> None:
        """Call ``begun``, and take jobs until ``drain`` has been called and the last one has ended or gone back."""
        async with self._engine, anyio.create_task_group() as tasks:
            tasks.start_soon(self._warm)
            await self._broker.subscribe("run.*.cancel", self._cancel)
            await self._broker.subscribe("forget.*", _in_a_task(tasks, self._forget))
            await self._broker.subscribe(f"ask.{self.id}", _in_a_task(tasks, self._answers.respond))
            await self._holding.listen()
            self._broker.restored.append(lambda: self._restored(tasks))
            await self._announce()
            tasks.start_soon(self._keep_announcing)
            begun()
            async with anyio.create_task_group() as taking:
                taking.start_soon(self._take_jobs, tasks)
                await self._draining.wait()
                taking.cancel_scope.cancel()
            await self._leave()
            tasks.cancel_scope.cancel()

    def drain(self) -> None:
        """Take no further jobs; finish those in progress, or hand them back after ``DRAIN_SECONDS``."""
        self._draining.set()

    async def info(self) -> WorkerInfo:
        """Return what this worker announces."""
        inventory = self._engine.inventory
        statuses = await inventory.target_statuses(self._targets)
        return WorkerInfo(
            id=self.id,
            version=__version__,
            courses=self._courses,
            isolation=inventory.isolation,
            slots=self._slots,
            toolchains=await inventory.toolchains(),
            pending=tuple(one for one in statuses if one.state not in ("ready", "missing")),
            health=await self._engine.health(),
            toolchain_health=await inventory.health(),
            draining=self._draining.is_set(),
            busy=len(self._attempts),
            counts=dict(self._counts),
        )

    async def _leave(self) -> None:
        await self._announce()
        with anyio.move_on_after(DRAIN_SECONDS):
            for attempt in tuple(self._attempts.values()):
                await attempt.ended.wait()
        for attempt in tuple(self._attempts.values()):
            await attempt.hand_back()
        with suppress(EngineUnavailableError):
            await self._broker.publish(subjects.worker(self.id), b"", {"KV-Operation": "DEL"}, seconds=0)

    async def _warm(self) -> None:
        try:
            await self._engine.warm()
        except Exception:
            _log.exception("the toolchains could not be examined")

    async def _announce(self) -> None:
        info = await self.info()
        self._source.follow(info.group)
        with suppress(EngineUnavailableError):
            await self._broker.publish(subjects.worker(self.id), info.model_dump_json().encode(), seconds=0)

    async def _keep_announcing(self) -> None:
        while True:
            await anyio.sleep(_ANNOUNCE_SECONDS)
            try:
                await self._announce()
            except Exception:
                _log.exception("this worker could not be announced")

    async def _take_jobs(self, tasks: TaskGroup) -> None:
        while True:
            await self._places.acquire()
            slot = _Slot(self._places)
            try:
                msg = await self._source.next()
            except Gone as error:
                _log.warning("jobs cannot be taken: %s", error)
                await anyio.sleep(0.2)
                msg = None
            if msg is None:
                slot.free()
            else:
                tasks.start_soon(self._execute, msg, slot)

    async def _execute(self, msg: Msg, slot: _Slot) -> None:
        run_id = ""
        try:
            job = JobSpec.model_validate_json(msg.data)
            run_id = job.run_id
            if await self._is_in_progress(run_id):
                await msg.nak(subjects.ACK_SECONDS)
                return
            self._count("taken")
            attempt = self._attempts[run_id] = Attempt(self._parts, job, msg, slot.free)
            try:
                await attempt.execute()
            finally:
                if self._attempts.get(run_id) is attempt:
                    del self._attempts[run_id]
        except Exception:
            _log.exception("run %s could not be executed; it goes to another worker", run_id)
        finally:
            slot.free()

    async def _is_in_progress(self, run_id: str) -> bool:
        """Return True if this worker executes the run. End an attempt that another worker has taken over."""
        before = self._attempts.get(run_id)
        if before is None:
            return False
        if await before.is_current():
            return True
        await before.abandon()
        return False

    def _lease_of(self, run_id: str) -> Lease | None:
        attempt = self._attempts.get(run_id)
        return attempt.lease if attempt else None

    def _count(self, what: str) -> None:
        self._counts[what] += 1

    async def _cancel(self, msg: Msg) -> None:
        attempt = self._attempts.get(subject_of(msg).split(".")[1])
        if attempt is not None:
            await attempt.cancel()

    async def _forget(self, msg: Msg) -> None:
        """Drop the events and the artifact of a run that the web has deleted."""
        run_id = subject_of(msg).split(".")[1]
        attempt = self._attempts.get(run_id)
        if attempt is not None:
            await attempt.ended.wait()  # it has written its verdict, and acknowledges the job
        await self._adoption.forget(run_id)

    def _restored(self, tasks: TaskGroup) -> None:
        """Ask anew for jobs, because the broker forgot the last request, and for wishes that were missed."""
        self._source.ask_anew()
        tasks.start_soon(self._catch_up)

    async def _catch_up(self) -> None:
        for attempt in tuple(self._attempts.values()):
            with suppress(EngineUnavailableError):
                await attempt.catch_up()


def _in_a_task(tasks: TaskGroup, work: Callable[[Msg], Coroutine[Any, Any, None]]) -> Callable[[Msg], Awaitable[None]]:
    """Return a callback that does not wait for the work, so that the next message need not wait either."""

    async def called(msg: Msg) -> None:
        tasks.start_soon(work, msg)

    return called
