"""The engine that runs jobs on this machine: ``max_runs`` at a time, while others wait in a queue."""

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from functools import partial
from types import TracebackType
from typing import Literal, Self

import anyio

from app.binary import Card
from app.course import Course
from app.engine import (
    ArtifactDetails,
    ArtifactFile,
    JobSpec,
    NoSuchRunError,
    NothingBuiltError,
    OnVerdict,
    RunStatus,
    words,
)
from app.engine.builds import EngineBuilds
from app.engine.cards import ArtifactCards
from app.engine.dispatcher import TICK, Dispatcher
from app.engine.hello_world import HelloWorldSizes
from app.engine.inventory import LocalInventory, LocalSetup, find_setup
from app.engine.kept import KeptAnswers
from app.engine.log import Run
from app.engine.retention import Retention
from app.engine.scratch import Scratch
from app.engine.seeds import Seeds, cargo_configs
from app.engine.steps import Steps
from app.engine.supervisor import Supervisor
from app.engine.worker import Worker
from app.inspector import Inspector
from app.protocol.events import Event, Finished, Verdict
from app.run import runner
from app.runfiles import in_thread
from app.sandbox import settle
from app.settings import Settings
from app.stepper import Trace

_log = logging.getLogger(__name__)
_TIDY_SECONDS = 30.0
_STOP_SECONDS = 1.5
_OWN = 3
"""Boxes of the engine's own: for its builds, the stepper and trial runs."""
_LATE = 30.0
"""Seconds without ``_tend_once`` after which the engine counts as ended."""


async def _nothing(job: JobSpec, events: Sequence[Event], verdict: Verdict) -> None:
    """Do nothing: the default for an engine without stored progress."""


class LocalEngine:
    """Runs jobs in scratch folders below ``settings.scratch_dir``; use it as an async context manager.

    ``on_verdict`` is awaited before a verdict becomes visible, so that progress is stored first. ``found`` is the setup
    of this machine, if it is known already. With ``on_demand``, missing targets are set up. ``inventory`` is one to
    share with others, instead of one of the engine's own. With ``keep_answers``, a run of a lesson's own text may be
    answered like an identical one before it. With ``ahead``, the next run's sandbox is made after a run.
    """

    def __init__(
        self,
        settings: Settings,
        courses: Iterable[Course],
        on_verdict: OnVerdict = _nothing,
        found: LocalSetup | None = None,
        *,
        inventory: LocalInventory | None = None,
        on_demand: bool = False,
        keep_answers: bool = False,
        ahead: bool = False,
    ) -> None:
        self._settings = settings
        self._courses: Mapping[str, Course] = {course.id: course for course in courses}
        self._on_verdict = on_verdict
        self._found = found
        self._on_demand = on_demand
        self._keep_answers = keep_answers
        self._ahead = ahead
        lessons = (lesson for course in self._courses.values() for lesson in course.lessons)
        self._configs = cargo_configs(lesson.solution for lesson in lessons)
        self.inventory = inventory or LocalInventory(settings, self._courses.values())
        self._runs = Retention(settings.run_ttl, self._dropped)
        self._dispatcher = Dispatcher(settings, self._start, settings.max_aside)
        self._tended = 0.0
        self._stopping = False

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            # Exits are called in reverse order: this one after every run has ended.
            stack.push_async_callback(in_thread, settle)
            self._scratch = await stack.enter_async_context(Scratch(self._settings.scratch_dir))
            found = self._found or await find_setup(self._settings)
            self.inventory.begin(found)
            readers = self._settings.artifact_readers
            ahead = _OWN + 2 * readers  # boxes that are not for runs; half of the readers only read facts of ELF files
            count = ahead + self._settings.max_runs + self._settings.max_aside
            boxes = stack.enter_context(found.isolation.slots(count))
            spare, second, trial, *reading = boxes[:ahead]
            self._steps = Steps(self._scratch, second)
            self._inspector = await stack.enter_async_context(
                Inspector.start(reading[readers:], self._scratch.new_root, reading[:readers])
            )
            builds = EngineBuilds(self._scratch, spare)
            self._seeds = Seeds(builds, self._configs, self._settings.cache_dir)
            self._worker = Worker(
                self._settings,
                self._courses,
                self._scratch,
                self._inspector,
                self._seeds,
                boxes[ahead:],
                trial,
                self.inventory.named,
                self._runs.built,
            )
            self._kept = KeptAnswers(
                self._settings, self._courses, self.inventory, self._scratch, enabled=self._keep_answers
            )
            await self._kept.open()
            stack.push_async_callback(self._worker.aclose)
            self._tasks = Supervisor(await stack.enter_async_context(anyio.create_task_group()))
            self._cards = ArtifactCards(
                self._inspector, HelloWorldSizes(builds, self._seeds), self._tasks, self.inventory.named
            )
            self._tasks.start_soon(self._tend)
            if self._on_demand:
                self._tasks.start_soon(self.inventory.work)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        await self._stop(drain=0.0)
        self._tasks.end()
        return await self._stack.__aexit__(kind, error, trace)

    async def health(self) -> str:
        """Return ``ok``, or a sentence that says why runs do not work."""
        if self._tasks.ended or time.monotonic() - self._tended > _LATE:
            return words.ENGINE_ENDED
        return "ok" if await self._worker.works() else words.RUNS_FAIL

    def interruption(self) -> None:
        """Return None: this process executes the runs."""

    async def warm(self) -> None:
        """Learn the seeds and start the readers, so that the first run need not wait for them."""
        for toolchain in await self.inventory.present():
            await self._seeds.of(toolchain)
            await self._inspector.warm()

    async def stop(self) -> None:
        """End every run, and with it the readers' streams: running ones may end by themselves for a moment.

        Runs that are submitted meanwhile are cancelled, too.
        """
        await self._stop(self._settings.drain_seconds)

    async def _stop(self, drain: float) -> None:
        self._stopping = True
        runs = self._runs.active()
        for run in runs:
            run.stopped = True
            if run.state != "running":
                await self.cancel(run.id)
        with anyio.move_on_after(drain):
            await _ended(runs)
        for run in runs:
            await self.cancel(run.id)
        with anyio.move_on_after(_STOP_SECONDS):
            await _ended(runs)

    async def submit(self, job: JobSpec, *, yields: bool | None = None) -> str:
        """Queue a job and return the run's id. A job that is known already is not queued again.

        ``yields`` says if other runs get the processors first, None to go by the owner's standing here.

        Raises ``OwnerQueueFullError``, ``QueueFullError``, ``NothingBuiltError``.
        """
        # Nothing is awaited here, so no other run can come between the check of the bounds and this run.
        if job.run_id in self._runs:
            return job.run_id
        self._dispatcher.queue.check(job.queue_owner)
        if job.after is not None:
            self._runs.built(job.after)
        pending = self.inventory.pending(job) if self._on_demand else ()
        run = Run(job.model_copy(update={"attended": False}) if pending else job)
        run.told_to_yield = yields
        self._runs.add(run)
        if self._tasks.ended:
            run.lose()
        elif self._stopping:
            run.stopped = True
            self._end_before_start(run, "cancelled")
        elif pending:
            run.preparing = True
            self._dispatcher.hold(run)
            self._tasks.start_soon(self._prepare, run, pending)
        elif self._kept.has_answer(run):
            self._tasks.start_soon(self._answer, run)
        else:
            self._dispatcher.enqueue(run)
        return run.id

    async def note_presence(self, owner: str | None) -> None:
        """Note that an owner is present. For a while, others leave the last free slot to it."""
        self._dispatcher.queue.note_presence(owner)

    async def status(self, run_id: str) -> RunStatus:
        """Return where the run stands. Raises ``NoSuchRunError``."""
        return self._runs[run_id].status()

    async def events(self, run_id: str, after_id: int = 0) -> AsyncIterator[Event]:
        """Yield the run's events from ``after_id`` + 1 on, as they come; end after the verdict.

        Raises ``NoSuchRunError``, also in the middle when the run is dropped.
        """
        # The run counts its readers, so the inner generator must close together with this one.
        async with aclosing(self._runs[run_id].follow(after_id)) as log:
            async for event in log:
                yield event

    async def executed(self, run_id: str) -> None:
        """Return once no process of the run is left. Raises ``NoSuchRunError``."""
        await self._runs[run_id].executed.wait()

    async def cancel(self, run_id: str) -> None:
        """End the run and its process tree. Raises ``NoSuchRunError``; does nothing if the run is done."""
        run = self._runs[run_id]
        if run.state == "queued":
            if self._dispatcher.leave(run):
                self._end_before_start(run, "cancelled")
            else:
                run.preparation.cancel()
        elif run.state == "running":
            run.scope.cancel()

    async def forget(self, owner: str) -> None:
        """Cancel the owner's runs and drop their events and artifacts."""
        for run in self._runs.of(owner):
            await self.discard(run.id)

    async def discard(self, run_id: str) -> None:
        """Cancel a run, wait for its end, and drop its events and its artifact. Does nothing without such a run."""
        with suppress(NoSuchRunError):  # it may also be dropped meanwhile
            run = self._runs[run_id]
            await self.cancel(run_id)
            async for _ in run.follow():
                pass
            self._runs.drop(run)

    def built(self, run_id: str) -> runner.Built:
        """Return the files that the run built. Raises ``NoSuchRunError``, ``NothingBuiltError``."""
        return self._runs.built(run_id)

    async def adopt(self, job: JobSpec, events: Sequence[Event], path: str, files: Sequence[tuple[str, bytes]]) -> None:
        """Keep a run that ended elsewhere, with the files that it built (name and content, the program first)."""
        run = Run(job)
        run.state = "done"
        for event in events:
            run.emit(event)
        if files:
            first, *others = await self._scratch.keep(files)
            run.built = runner.Built(first, path, tuple(others), sum(len(content) for _, content in files))
        self._runs.add(run)

    async def artifact(self, run_id: str) -> ArtifactFile:
        """Return what the run built. Raises ``NoSuchRunError``, ``NothingBuiltError``."""
        built = self._runs.built(run_id)
        return ArtifactFile(built.path, built.file.stat().st_size)

    def artifact_bytes(self, run_id: str) -> AsyncGenerator[bytes]:
        """Yield the file that the run built, in pieces. Raises ``NoSuchRunError``, ``NothingBuiltError``."""
        return self._runs.bytes_of(run_id)

    async def artifact_details(self, run_id: str, since: str | None = None) -> ArtifactDetails:
        """Return the details of what the run built. Raises ``NoSuchRunError``, ``NothingBuiltError``."""
        run = self._runs[run_id]
        return await self._cards.details(run, self._runs.before(run) if since is None else [self._runs[since]])

    async def steps(self, run_id: str) -> Trace:
        """Return what the run built, or started without building it, step by step.

        Raises ``NoSuchRunError``, ``NothingBuiltError``, ``NotSteppedError``.
        """
        run = self._runs[run_id]
        built = self._runs.built(run.job.after if run.built is None and run.job.after else run_id)
        try:
            return await self._steps.of(run_id, built.file, run.job.lock_owner)
        except FileNotFoundError:
            raise NothingBuiltError(run_id) from None

    async def card(self, run_id: str) -> Card | None:
        """Return the card of what the run built, if it built something. Raises ``NoSuchRunError``."""
        return await self._cards.card(self._runs[run_id])

    async def _prepare(self, run: Run, targets: Sequence[str]) -> None:
        """Let a run wait for its targets outside of the queue, so that it does not delay others."""
        status: Literal["cancelled", "failed"] = "cancelled"
        try:
            with run.preparation:
                name = await self.inventory.prepared(run.job, targets, run.say)
                run.job = run.job.model_copy(update={"toolchain": name})
                run.preparing = False
        except Exception:
            _log.exception("run %s of lesson %s could not be prepared", run.id, run.job.lesson)
            run.say(words.NOT_PREPARED)
            status = "failed"
        finally:
            self._dispatcher.release(run)
        # A cancellation may also arrive after the wait has ended.
        if run.preparing or run.preparation.cancel_called:
            run.preparing = False
            self._end_before_start(run, status)
        else:
            self._dispatcher.enqueue(run)

    def _end_before_start(self, run: Run, status: Literal["cancelled", "failed"]) -> None:
        run.emit(Finished(status=status, exit_code=None, seconds=0.0))
        run.end(self._worker.judge(run))

    def _start(self, run: Run) -> None:
        self._tasks.start_soon(self._execute, run)

    async def _execute(self, run: Run) -> None:
        if self._kept.has_answer(run):
            self._dispatcher.free(run)
            await self._answer(run)
            return
        with self._kept.in_progress(run):
            await self._worker.execute(run, partial(self._dispatcher.free, run), partial(self._close, run))
            await self._kept.keep(run)
        if self._ahead:
            await self._worker.prepare(run.job)

    async def _answer(self, run: Run) -> None:
        """Answer a run, which needs no slot, like an identical one; if that is not possible after all, queue it."""
        with self._dispatcher.queue.held(run.job.queue_owner):
            verdict = await self._kept.answer(run)
        if verdict is not None:
            await self._close(run, verdict)
        elif run.preparation.cancel_called or run.scope.cancel_called:
            self._end_before_start(run, "cancelled")
        else:
            run.state = "queued"
            self._dispatcher.enqueue(run)

    async def _close(self, run: Run, verdict: Verdict) -> None:
        """Have the progress stored, and then append the verdict."""
        try:
            await self._on_verdict(run.job, tuple(run.log), verdict)
        except Exception:
            _log.exception("the progress of run %s could not be stored", run.id)
            verdict = verdict.model_copy(update={"stored": False})
        run.mark("store")
        run.end(verdict)
        if run.job.attended:
            self._cards.prepare(run)

    async def _tend(self) -> None:
        tidied = time.monotonic()
        try:
            while True:
                self._tended = time.monotonic()
                await anyio.sleep(TICK)
                if self._tended - tidied > _TIDY_SECONDS:
                    tidied = self._tended
                    self._tasks.start_soon(self._scratch.tidy)
                try:
                    await self._tend_once(time.monotonic())
                except Exception:
                    _log.exception("the runs could not be tended")
        finally:
            # The engine ends and cancels the tasks of these runs, but their readers still wait for a verdict.
            for run in self._runs.active():
                run.lose()

    async def _tend_once(self, now: float) -> None:
        for run in self._runs.active():
            left = not run.readers and now - run.idle_since > self._settings.reader_seconds
            if run.job.attended and left:
                await self.cancel(run.id)
        self._runs.expire()
        self._dispatcher.tick()
        await self._worker.tidy()

    def _dropped(self, run: Run) -> None:
        self._steps.drop(run.id)
        if run.built:
            self._tasks.start_soon(self._scratch.discard, run.built.file.parent)


async def _ended(runs: Iterable[Run]) -> None:
    for run in runs:
        async for _ in run.follow():
            pass
