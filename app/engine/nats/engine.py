"""The web's side of the engine on NATS: it accepts and queues jobs, and copies the logs that workers write."""

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from types import TracebackType
from typing import Any, Self

import anyio
from nats.aio.msg import Msg
from nats.js.errors import APIError

from app.binary import Card
from app.engine import (
    ArtifactDetails,
    ArtifactFile,
    EarlierArtifact,
    EngineUnavailableError,
    NoSuchRunError,
    NothingBuiltError,
    OnVerdict,
    words,
)
from app.engine.dispatcher import TICK
from app.engine.nats import artifacts, asks, subjects
from app.engine.nats import words as own
from app.engine.nats.broker import FencedError, UnusableBrokerError, subject_of
from app.engine.nats.copies import Copies
from app.engine.nats.feed import Feed
from app.engine.nats.inventory import NatsInventory, announced
from app.engine.nats.mirror import Mirror
from app.engine.nats.runlog import RunLog, events_of, first_lease, known, next_lease
from app.engine.supervisor import Supervisor
from app.protocol.events import Event, Finished, Output, Verdict
from app.protocol.job import JobSpec, RunStatus
from app.settings import Settings
from app.stepper import Trace

_log = logging.getLogger(__name__)
_WEB = "web"
_CONNECT_SECONDS = 10.0
_BEGIN_SECONDS = 30.0
_LATE = 30.0
"""Seconds without ``_tend_once`` after which the engine counts as ended."""
_NOTICED = 1.0
_EXPIRE_SECONDS = 2.0
"""Seconds between two looks at all runs for those that have expired."""
_QUIET = 5.0
"""Seconds after which the log of a silent run is read anew, in case a message was lost on the way."""


class NatsEngine:
    """Has jobs executed by the workers of ``inventory``; use it as an async context manager.

    A verdict that ``on_verdict`` has stored is marked so at the broker. After a restart, the engine makes up for those
    that are not.
    """

    def __init__(self, settings: Settings, inventory: NatsInventory, on_verdict: OnVerdict) -> None:
        self._settings = settings
        self._inventory = inventory
        self._broker = inventory.broker
        self._on_verdict = on_verdict
        self._stopped = False
        self._refused: set[str] = set()
        self._tended = self._expired = time.monotonic()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._broker.close)
            largest = subjects.largest_message(self._settings.body_bytes, self._settings.output_bytes)
            await self._broker.connect(_CONNECT_SECONDS, largest)
            await self._broker.ensure(self._settings.run_ttl, self._settings.engine_replicas)
            self._tasks = Supervisor(await stack.enter_async_context(anyio.create_task_group()))
            self._runs = Copies(self._broker, self._tasks, self._on_verdict, self._say, self._begun, self._ended)
            self._feed = Feed(self._settings, self._inventory, self._tasks, self._runs.take)
            await self._broker.subscribe(f"{subjects.LIVE}run.*.ev", self._runs.on_events)
            await self._broker.subscribe(f"{subjects.LIVE}run.*.lease", self._runs.on_lease)
            await self._broker.subscribe(f"{subjects.LIVE}worker.>", self._announced)
            await self._broker.subscribe(subjects.executed("*"), self._executed)
            self._broker.restored.append(lambda: self._tasks.start_soon(self._catch_up))
            await self._begin()
            self._tasks.start_soon(self._tend)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        await self.stop()
        self._tasks.end()
        return await self._stack.__aexit__(kind, error, trace)

    async def _begin(self) -> None:
        """Learn of workers, and take up the runs of an earlier web. The broker may go away meanwhile."""
        until = time.monotonic() + _BEGIN_SECONDS
        while True:
            try:
                for msg in await self._broker.last(subjects.WORKERS, subjects.worker("*")):
                    await self._announced(msg)
                await self._feed.resume(await self._runs.unstored())
            except EngineUnavailableError:
                if time.monotonic() > until:
                    raise
                await anyio.sleep(0.2)
            else:
                return

    async def health(self) -> str:
        """Return ``ok``, or a sentence that says why runs do not work."""
        if self._tasks.ended or time.monotonic() - self._tended > _LATE:
            return words.ENGINE_ENDED
        if not self._broker.connected:
            return own.BROKER_GONE
        if self._broker.refusal:
            return own.refuses(self._broker.refusal)
        told = [one.health for one in self._inventory.workers()]
        if not told:
            return own.NO_WORKER
        return "ok" if "ok" in told else told[0]

    def interruption(self) -> str:
        """Return a sentence for learners while the broker is away, but not for a moment that nobody notices."""
        away = not self._broker.connected and time.monotonic() - self._broker.lost_at > _NOTICED
        return own.INTERRUPTED if away else ""

    async def warm(self) -> None:
        """Do nothing: each worker prepares itself."""

    async def stop(self) -> None:
        """End the readers' streams. The runs go on, and a web that starts again follows them."""
        self._stopped = True
        for run in self._runs.all():
            run.dropped = True
            run.changed.set()

    async def submit(self, job: JobSpec) -> str:
        """Queue a job and return the run's id. A job that is known already is not queued again.

        Raises ``OwnerQueueFullError``, ``QueueFullError``, ``NothingBuiltError``, ``EngineUnavailableError``.
        """
        if job.run_id in self._runs:
            return job.run_id
        if job.after is not None:
            await self.artifact(job.after)
        group = self._feed.place(job)
        queue = self._feed.dispatcher_of(group).queue
        queue.check(job.queue_owner)
        queue.hold(job.queue_owner)
        run = self._runs.new(job)
        run.group = group
        try:
            run.accepted = await self._broker.publish(subjects.spec(run.id, job.owner), job.model_dump_json().encode())
        except BaseException:
            self._runs.refuse(run.id)
            raise
        finally:
            queue.release(job.queue_owner)
        self._feed.enqueue(run, group)
        return run.id

    async def note_presence(self, owner: str | None) -> None:
        """Note that an owner is present. For a while, others leave the last free slot to it."""
        self._feed.note_presence(owner)

    async def status(self, run_id: str) -> RunStatus:
        """Return where the run stands. Raises ``NoSuchRunError``."""
        return (await self._runs.get(run_id)).status()

    async def events(self, run_id: str, after_id: int = 0) -> AsyncIterator[Event]:
        """Yield the run's events from ``after_id`` + 1 on, as they come; end after the verdict.

        Raises ``NoSuchRunError``, also in the middle when the run is dropped. Ends early when the web stops.
        """
        run = await self._runs.get(run_id)
        try:
            async with aclosing(run.follow(after_id)) as log:
                async for event in log:
                    yield event
        except NoSuchRunError:
            if not self._stopped:
                raise

    async def cancel(self, run_id: str) -> None:
        """End the run and its process tree. Raises ``NoSuchRunError``; does nothing if the run is done."""
        run = await self._runs.get(run_id)
        if run.state != "done" and not run.ending:
            run.unwanted = True  # if the broker is away, ``_tend_run`` tries again
            await self._cancel(run)

    async def _cancel(self, run: Mirror) -> None:
        """Have the run's worker end it, or end it here if it has none."""
        begun = run.lease is not None
        if not run.cancel_sent and (begun or not self._feed.leave(run)):
            await self._broker.publish(subjects.of_run(run.id, "cancel"))
            run.cancel_sent = begun  # a worker that begins meanwhile may have got this before the job
        if run.lease is None:
            log = await first_lease(self._broker, run.id, _WEB)
            if log is None:
                # A worker begins now, and hears of it once more.
                await self._broker.publish(subjects.of_run(run.id, "cancel"))
                return
        elif run.lease.holder == _WEB:
            # The broker went away between the lease and the last event.
            log = await next_lease(self._broker, run.id, _WEB, await known(self._broker, run.id))
        else:
            return
        await self._write_end(run, log, Finished(status="cancelled", exit_code=None, seconds=0.0))

    async def forget(self, owner: str) -> None:
        """Cancel the owner's runs and drop their events and artifacts."""
        for name in await self._broker.names(f"run.*.spec.{subjects.token(owner)}"):
            run_id = name.split(".")[1]
            with suppress(NoSuchRunError):
                await self.cancel(run_id)
                async for _ in (await self._runs.get(run_id)).follow():
                    pass
            await self._runs.drop(run_id)

    async def artifact(self, run_id: str) -> ArtifactFile:
        """Return what the run built. Raises ``NoSuchRunError``, ``NothingBuiltError``."""
        run = await self._runs.get(run_id)
        artifact = run.artifact()
        if artifact is None or run.files is None:
            raise NothingBuiltError(run_id)
        return ArtifactFile(artifact.path, run.files.files[0].size)

    async def artifact_bytes(self, run_id: str) -> AsyncGenerator[bytes]:
        """Yield the file that the run built, in pieces. Raises ``NoSuchRunError``, ``NothingBuiltError``."""
        await self.artifact(run_id)
        built = (await self._runs.get(run_id)).files
        assert built
        async for piece in artifacts.program(self._broker, run_id, built):
            yield piece

    async def artifact_details(self, run_id: str, since: str | None = None) -> ArtifactDetails:
        """Return the details of what the run built. Raises ``NoSuchRunError``, ``NothingBuiltError``."""
        await self.artifact(run_id)
        run = await self._runs.get(run_id)
        artifact = run.artifact()
        assert artifact
        details: ArtifactDetails = await self._ask(run, "details")
        before = self._runs.before(run) if since is None else [await self._runs.get(since)]
        earlier = [
            EarlierArtifact(one.id, one.job.course, one.job.lesson, card)
            for one in before
            if (card := await self.card(one.id))
        ]
        return ArtifactDetails(run.id, run.job, artifact, details.card, details.std, tuple(earlier))

    async def steps(self, run_id: str) -> Trace:
        """Return what the run built, or started without building it, step by step.

        Raises ``NoSuchRunError``, ``NothingBuiltError``, ``NotSteppedError``.
        """
        run = await self._runs.get(run_id)
        await self.artifact(run.job.after if run.files is None and run.job.after else run_id)
        return await self._ask(run, "steps")  # type: ignore[no-any-return]  # the adapter of "steps" says the type

    async def card(self, run_id: str) -> Card | None:
        """Return the card of what the run built, if it built something. Raises ``NoSuchRunError``."""
        run = await self._runs.get(run_id)
        if run.card is None and run.files is not None:
            run.card = await self._ask(run, "card")
        return run.card

    async def _ask(self, run: Mirror, name: str) -> Any:
        """Ask the worker that executed a run, or another one, which then gets the artifact from the broker."""
        holder = run.lease.holder if run.lease else ""
        workers = [one.id for one in self._inventory.alive()]
        for worker in sorted(workers, key=lambda one: one != holder):
            with suppress(asks.NobodyThereError):
                return await asks.ask(self._broker, f"ask.{worker}", name, run.id)
        raise EngineUnavailableError(own.NO_WORKER)

    def _say(self, run: Mirror, event: Event) -> None:
        self._feed.say(run, event)

    def _begun(self, run: Mirror) -> None:
        self._feed.begun(run)

    def _ended(self, run: Mirror) -> None:
        self._feed.ended(run)

    async def _executed(self, msg: Msg) -> None:
        """Free the slot of a run of which its worker says that no process is left."""
        run_id = subject_of(msg).rpartition(".")[2]
        if run_id in self._runs:
            run = await self._runs.get(run_id)
            if run.lease and run.lease.nonce.encode() == msg.data:
                self._feed.executed(run)

    async def _announced(self, msg: Msg) -> None:
        """Take what a worker announces of itself; an empty message says that it has ended."""
        worker_id = subject_of(msg).rpartition(".")[2]
        if not msg.data:
            self._inventory.leave(worker_id)
            self._refused.discard(worker_id)
        elif (info := announced(msg.data)) is None or info.id != worker_id:
            _log.warning("the announcement of worker %s cannot be read", worker_id)
        else:
            is_new = info.group not in self._inventory.groups()
            self._inventory.note(info)
            why = self._inventory.why_refused(info)
            if why and worker_id not in self._refused:
                self._refused.add(worker_id)
                self._tasks.start_soon(self._tell_refused, worker_id, why)
            self._feed.dispatcher_of(info.group)
            if is_new:
                # The broker deletes the consumer of a group that was away for long.
                self._tasks.start_soon(self._create_consumer, info.group)
        self._feed.resize()

    async def _tell_refused(self, worker_id: str, why: str) -> None:
        """Tell a worker why it gets no runs, so that its own log says so."""
        with suppress(asks.NobodyThereError, EngineUnavailableError):
            await asks.ask(self._broker, f"ask.{worker_id}", "refused", why)

    async def _create_consumer(self, group: str) -> None:
        wanted = {"stream_name": subjects.JOBS, "config": subjects.consumer(group)}
        while True:
            try:
                await self._broker.ask(f"CONSUMER.DURABLE.CREATE.{subjects.JOBS}.{group}", wanted)
            except (APIError, EngineUnavailableError) as error:
                _log.warning("the consumer of group %s could not be created: %s", group, error)
                await anyio.sleep(1)
            else:
                return

    async def _catch_up(self) -> None:
        """Read what was missed while the broker was away, and make again what it has kept in memory only."""
        try:
            await self._broker.ensure(self._settings.run_ttl, self._settings.engine_replicas)
        except UnusableBrokerError as error:
            _log.warning("%s", error)
        for group in self._feed.groups():
            self._tasks.start_soon(self._create_consumer, group)
        for run in self._runs.active():
            await self._runs.replay(run)
            self._feed.pump(run)

    async def _tend(self) -> None:
        while True:
            self._tended = time.monotonic()
            await anyio.sleep(TICK)
            try:
                await self._tend_once(time.monotonic())
            except EngineUnavailableError as error:
                _log.warning("the runs cannot be tended: %s", error)
            except Exception:
                _log.exception("the runs could not be tended")

    async def _tend_once(self, now: float) -> None:
        self._feed.resize()
        active = self._runs.active()
        for run in self._feed.with_worker(active) if self._broker.connected else active:
            run.served = now  # while the broker is away, nobody can tell
        if not self._broker.connected:
            return
        for run in self._runs.active():
            await self._tend_run(run, now)
        await self._feed.move_stranded(self._runs.active())
        if now - self._expired > _EXPIRE_SECONDS:
            self._expired = now
            await self._runs.expire(self._settings.run_ttl)

    async def _tend_run(self, run: Mirror, now: float) -> None:
        left = not run.readers and now - run.idle_since > self._settings.reader_seconds
        run.unwanted |= run.job.attended and left and not run.preparing
        if run.unwanted and not run.ending:
            await self._cancel(run)
        if now - run.served > self._settings.worker_seconds and not run.ending:
            await self._lose(run)
        elif run.sequence is not None and now - run.touched > _QUIET:
            run.touched = now
            await self._runs.replay(run)
        self._feed.pump(run)

    async def _lose(self, run: Mirror) -> None:
        """End a run that no worker can execute any more."""
        log = await next_lease(self._broker, run.id, _WEB, await known(self._broker, run.id))
        seconds = round(run.seconds(), 3)
        end = Finished(status="failed", exit_code=None, seconds=seconds, reason="engine-lost")
        await self._write_end(run, log, Output(stream="stderr", text=f"{words.ENGINE_LOST}\n"), end)

    async def _write_end(self, run: Mirror, log: RunLog | None, *last: Event) -> None:
        """Append the last events and a verdict, unless another writer holds the lease (then ``log`` is None)."""
        if log is None:
            return
        run.lease = log.lease
        events: Sequence[Event] = (await events_of(self._broker, run.id, log.sequence))[0]
        if not (events and isinstance(events[-1], Verdict)):
            end = [*([] if events else run.given), *last, Verdict(reached=False, checks=())]
            added = [event.numbered(len(events) + at) for at, event in enumerate(end, 1)]
            with suppress(FencedError):
                await log.append(added)
                events = [*events, *added]
        self._runs.take(run, events)
        await self._feed.withdraw(run)
