"""A worker process: takes jobs from the broker, executes them on this machine, and writes their logs."""

import json
import logging
import math
import platform
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio
import nats.errors
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import APIError

from app import __version__
from app.course import Course
from app.engine import EngineUnavailableError, NoSuchRunError, NothingBuiltError
from app.engine.inventory import LocalSetup
from app.engine.local import LocalEngine
from app.engine.nats import artifacts, asks, subjects, words
from app.engine.nats.broker import Broker, FencedError, Gone, subject_of
from app.engine.nats.runlog import Built, RunLog, events_of, first_lease, known, next_lease
from app.engine.words import EXPIRED
from app.protocol.events import Event, Finished, Output, Queued, Verdict
from app.protocol.job import JobSpec
from app.protocol.worker import WorkerInfo
from app.settings import Settings

_log = logging.getLogger(__name__)
_MOST_ATTEMPTS = 3
_ANNOUNCE_SECONDS = 1.0
_PULL_SECONDS = 5.0
_DRAIN_SECONDS = 8.0


@dataclass
class _Work:
    """A job in progress here."""

    cancelled: bool = False
    handed_back: bool = False
    events: int = 0
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ended: anyio.Event = field(default_factory=anyio.Event)


@dataclass
class _Slot:
    """One of the places for runs. It is given back once, at the end of the process or else of the run."""

    places: anyio.Semaphore
    taken: bool = True

    def free(self) -> None:
        if self.taken:
            self.taken = False
            self.places.release()


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
        self._places = anyio.Semaphore(self._slots)
        self._work: dict[str, _Work] = {}
        self._pull = anyio.CancelScope()
        self._group = ""
        self._draining = anyio.Event()
        self._adopting = anyio.Lock()

    async def serve(self, begun: Callable[[], None]) -> None:
        """Call ``begun``, and take jobs until ``drain`` has been called and the last one has ended or gone back."""
        async with self._engine, anyio.create_task_group() as tasks:
            tasks.start_soon(self._warm)
            await self._broker.subscribe("run.*.cancel", self._cancelled)
            await self._broker.subscribe(f"ask.{self.id}", self._asked(tasks))
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
        """Take no further jobs; finish those in progress, or hand them back after ``_DRAIN_SECONDS``."""
        self._draining.set()

    async def _leave(self) -> None:
        await self._announce()
        with anyio.move_on_after(_DRAIN_SECONDS):
            for work in tuple(self._work.values()):
                await work.ended.wait()
        for work in tuple(self._work.values()):
            work.handed_back = True
            work.scope.cancel()
            await work.ended.wait()
        with suppress(EngineUnavailableError):
            await self._broker.publish(subjects.worker(self.id), b"", {"KV-Operation": "DEL"}, seconds=0)

    async def _warm(self) -> None:
        try:
            await self._engine.warm()
        except Exception:
            _log.exception("the toolchains could not be examined")

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
        )

    async def _announce(self) -> None:
        info = await self.info()
        if info.group != self._group:
            self._group = info.group
            self._pull.cancel()
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
        group, source = "", None
        while True:
            await self._places.acquire()
            slot = _Slot(self._places)
            try:
                with anyio.CancelScope() as self._pull:
                    if source is None or group != self._group:
                        group, source = self._group, await self._source(source)
                    msg = await self._next(source)
                    if msg is not None:
                        tasks.start_soon(self._supervised, msg, slot)
                        continue
            except Gone as error:
                _log.warning("jobs cannot be taken: %s", error)
                await anyio.sleep(0.2)
            slot.free()

    async def _source(self, before: JetStreamContext.PullSubscription | None) -> JetStreamContext.PullSubscription:
        if before:
            await before.unsubscribe()
        stream = self._broker.client.jetstream()
        return await stream.pull_subscribe_bind(consumer=self._group, stream=subjects.JOBS)

    async def _next(self, source: JetStreamContext.PullSubscription) -> Msg | None:
        try:
            return (await source.fetch(1, timeout=_PULL_SECONDS))[0]
        except (nats.errors.TimeoutError, TimeoutError):
            return None
        except APIError:
            # The web makes the consumer of a group when it first hears of one of its workers.
            await anyio.sleep(0.1)
            return None

    async def _supervised(self, msg: Msg, slot: _Slot) -> None:
        run_id = ""
        try:
            job = JobSpec.model_validate_json(msg.data)
            run_id = job.run_id
            await self._one(job, msg, slot)
        except Exception:
            _log.exception("run %s could not be executed; it goes to another worker", run_id)
        finally:
            slot.free()

    async def _one(self, job: JobSpec, msg: Msg, slot: _Slot) -> None:
        if (before := self._work.get(job.run_id)) is not None:
            # This worker was taken for dead and gets its own run again.
            before.scope.cancel()
            await before.ended.wait()
        work, fenced = _Work(), False
        self._work[job.run_id] = work
        try:
            with work.scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._beat, msg)
                    await self._attempt(job, msg, slot, work)
                    tasks.cancel_scope.cancel()
        except* FencedError:
            _log.warning("another worker has taken run %s over", job.run_id)
            fenced = True
        finally:
            with anyio.CancelScope(shield=True):
                if fenced or work.scope.cancel_called or not await self._is_done(job.run_id):
                    await self._engine.discard(job.run_id)
                if work.handed_back:
                    await msg.nak()
            if self._work.get(job.run_id) is work:
                del self._work[job.run_id]
            work.ended.set()

    async def _is_done(self, run_id: str) -> bool:
        try:
            return (await self._engine.status(run_id)).state == "done"
        except NoSuchRunError:
            return True

    @staticmethod
    async def _beat(msg: Msg) -> None:
        while True:
            await anyio.sleep(subjects.BEAT_SECONDS)
            with suppress(*Gone):
                await msg.in_progress()

    async def _attempt(self, job: JobSpec, msg: Msg, slot: _Slot, work: _Work) -> None:
        """Take the lease, execute the run, and acknowledge the job once its last event is stored."""
        run_id, written = job.run_id, int((msg.headers or {}).get(subjects.EVENTS, 0))
        # What came before this worker was connected is read while the broker answers.
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._note_cancelled, run_id, work)
            tasks.start_soon(self._count, run_id, work)
            log = await first_lease(self._broker, run_id, self.id)
        if work.events != written:
            # The web did not learn that an event of its own was stored. It cannot write any more.
            written = len((await events_of(self._broker, run_id))[0])
        if log is None:
            events, _ = await events_of(self._broker, run_id)
            if events and isinstance(events[-1], Verdict):
                await msg.ack()
                return
            log = await next_lease(self._broker, run_id, self.id, await known(self._broker, run_id))
            if log is None:
                return
            events, _ = await events_of(self._broker, run_id)
            written = len(events)
            if await self._is_over(log, events, work):
                await msg.ack()
                return
            if any(not isinstance(event, Queued) for event in events):
                written += 1
                await log.append([Output(id=written, stream="stderr", text=f"{words.BEGUN_AGAIN}\n")], seconds=math.inf)
            await self._engine.discard(run_id)
        await self._execute(job, log, written, slot, work)
        await msg.ack()

    async def _note_cancelled(self, run_id: str, work: _Work) -> None:
        work.cancelled |= (await known(self._broker, run_id)).cancelled

    async def _count(self, run_id: str, work: _Work) -> None:
        work.events = len((await events_of(self._broker, run_id))[0])

    @staticmethod
    async def _is_over(log: RunLog, events: list[Event], work: _Work) -> bool:
        """End a run that has been begun too often, or cancelled meanwhile; return True if it has ended."""
        if events and isinstance(events[-1], Verdict):
            return True
        assert log.lease
        if not work.cancelled and log.lease.attempt <= _MOST_ATTEMPTS:
            return False
        last: list[Event] = []
        if not work.cancelled:
            last.append(Output(stream="stderr", text=f"{words.TOO_MANY_ATTEMPTS}\n"))
        status: Literal["cancelled", "failed"] = "cancelled" if work.cancelled else "failed"
        last += [Finished(status=status, exit_code=None, seconds=0.0), Verdict(reached=False, checks=())]
        numbered = [event.numbered(len(events) + at) for at, event in enumerate(last, 1)]
        await log.append(numbered, seconds=math.inf)
        return True

    async def _execute(self, job: JobSpec, log: RunLog, written: int, slot: _Slot, work: _Work) -> None:
        """Execute the run, and write its events as they come: those that come during a write go together."""
        send, receive = anyio.create_memory_object_stream[Event](math.inf)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._write, log, receive, written, job.run_id)
            with send:
                async for event in self._events(job, work):
                    if isinstance(event, Finished):
                        slot.free()
                    if not isinstance(event, Queued):
                        send.send_nowait(event)

    async def _events(self, job: JobSpec, work: _Work) -> AsyncIterator[Event]:
        try:
            if job.after:
                await self.have(job.after)
            # All runs here count as one owner's: the web's queue has decided that this one is next.
            await self._engine.submit(job.model_copy(update={"queue_owner": None}))
        except (NothingBuiltError, NoSuchRunError):
            yield Output(stream="stderr", text=f"{EXPIRED}\n")
            yield Finished(status="failed", exit_code=None, seconds=0.0)
            yield Verdict(reached=False, checks=())
            return
        if work.cancelled:
            await self._engine.cancel(job.run_id)
        async for event in self._engine.events(job.run_id):
            yield event

    async def _write(self, log: RunLog, events: MemoryObjectReceiveStream[Event], written: int, run_id: str) -> None:
        end: list[Event] = []
        with events:
            async for first in events:
                batch: list[Event] = [first.numbered(written + 1)]
                with suppress(anyio.WouldBlock, anyio.EndOfStream):
                    while True:
                        batch.append(events.receive_nowait().numbered(written + len(batch) + 1))
                written += len(batch)
                # A log whose last event is ``finished`` could not be begun again: it goes with the verdict.
                last = next((at for at, one in enumerate(batch) if end or isinstance(one, Finished)), len(batch))
                end += batch[last:]
                if batch[:last]:
                    await log.append(batch[:last], seconds=math.inf)
        built: Built | None = None
        with suppress(NoSuchRunError, NothingBuiltError):
            built = await artifacts.store(self._broker, run_id, self._engine.built(run_id))
        await log.append(end, built, seconds=math.inf)

    async def have(self, run_id: str) -> None:
        """Get a run that was executed elsewhere, with its artifact, unless it is here. Raises ``NoSuchRunError``."""
        async with self._adopting:
            with suppress(NoSuchRunError):
                await self._engine.status(run_id)
                return
            found = await known(self._broker, run_id)
            if found.job is None:
                raise NoSuchRunError(run_id)
            job = JobSpec.model_validate_json(found.job.data)
            events, built = await events_of(self._broker, run_id)
            files = await artifacts.fetch(self._broker, run_id, built) if built else []
            path = next((event.path for event in events if event.type == "artifact"), "")
            await self._engine.adopt(job, events, path, files)

    async def _cancelled(self, msg: Msg) -> None:
        run_id = subject_of(msg).split(".")[1]
        if (work := self._work.get(run_id)) is not None:
            work.cancelled = True
            with suppress(NoSuchRunError):
                await self._engine.cancel(run_id)

    def _restored(self, tasks: TaskGroup) -> None:
        """Ask anew for jobs, because the broker forgot the last request, and for wishes that were missed."""
        self._pull.cancel()
        tasks.start_soon(self._catch_up)

    async def _catch_up(self) -> None:
        for run_id, work in tuple(self._work.items()):
            with suppress(EngineUnavailableError, NoSuchRunError):
                await self._note_cancelled(run_id, work)
                if work.cancelled:
                    await self._engine.cancel(run_id)

    def _asked(self, tasks: TaskGroup) -> Callable[[Msg], Awaitable[None]]:
        async def asked(msg: Msg) -> None:
            tasks.start_soon(self._answer, msg)

        return asked

    async def _answer(self, msg: Msg) -> None:
        try:
            name, *arguments = json.loads(msg.data)
            answer = asks.answer(name, await self._answered(name, arguments))
        except Exception as error:
            if type(error).__name__ not in asks.ERRORS:
                _log.exception("a question could not be answered")
            answer = asks.refusal(error)
        with suppress(*Gone):
            await msg.respond(answer)

    async def _answered(self, name: str, arguments: list[Any]) -> object:
        if name in ("card", "details", "steps"):
            await self.have(arguments[0])
            if name == "steps":
                job = (await self._engine.status(arguments[0])).job
                if job.after:
                    await self.have(job.after)
            method = {"details": "artifact_details"}.get(name, name)
            return await getattr(self._engine, method)(arguments[0])
        if name in asks.ANSWERS:
            return await getattr(self._engine.inventory, name)(*arguments)
        raise ValueError(f"no worker knows the question {name!r}")
