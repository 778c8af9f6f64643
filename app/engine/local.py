"""An engine that runs jobs on this machine, as many at once as it is told; further ones wait their turn."""

import logging
import os
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from types import TracebackType
from typing import Literal, Self

import anyio

from app import runner
from app.binary import Card
from app.course import Course
from app.engine import Inside, Job, NoSuchRunError, NothingBuiltError, Prepare, RunStatus
from app.engine.execute import Executor, OnVerdict, Supervisor
from app.engine.log import Run
from app.engine.look import Looks
from app.engine.queue import FairQueue
from app.engine.scratch import Scratch
from app.engine.seeds import Config, Seeds
from app.engine.side import Side
from app.engine.steps import Steps
from app.engine.yardstick import Yardsticks
from app.events import Event, Finished, Output, Verdict
from app.inspector import Inspector
from app.runfiles import in_thread
from app.sandbox import Box, Isolation, detect, settle
from app.settings import Settings
from app.stepper import Trace
from app.toolchain import Toolchain, discover

_log = logging.getLogger(__name__)
_TICK = 0.5
_TIDY_SECONDS = 30.0
_STOP_SECONDS = 1.5
_READERS = min(4, max(2, os.cpu_count() or 1))
"""Artefacts that are read at once; a std program takes a processor for a quarter of a second."""
_OWN = 3
_LATE = 30.0
"""Seconds after which an engine that has not tended its runs is taken for gone."""
_MOST_KEPT = 1000
_MOST_HELD = 64 * 1024 * 1024
_MOST_BUILT = 1024 * 1024 * 1024
"""Finished runs kept at most, whatever their age: their number, the memory of their files and events, the bytes they
built."""


async def _nothing(job: Job, events: Sequence[Event], verdict: Verdict) -> None:
    """The default for an engine whose owner keeps no progress."""


@dataclass(frozen=True)
class Found:
    """The isolation that runs get on this machine, and its toolchains."""

    isolation: Isolation
    toolchains: tuple[Toolchain, ...]


async def find(settings: Settings) -> Found:
    """Look for both. Raises ``IsolationError`` when a level that was asked for by name does not work."""
    toolchains = await discover(settings.cache_dir)
    return Found(await detect(settings, toolchains), toolchains)


class LocalEngine:
    """Runs jobs in scratch folders below ``settings.scratch_dir``; use it as an async context manager.

    ``found``: what was found on this machine, if somebody has looked already. ``on_verdict`` gets a run's job, its
    events and its verdict before that becomes visible, so that progress is stored first.
    """

    def __init__(
        self,
        settings: Settings,
        courses: Iterable[Course],
        configs: tuple[Config, ...] = (),
        on_verdict: OnVerdict = _nothing,
        found: Found | None = None,
    ) -> None:
        self._settings = settings
        self._diagnoses = {course.id: course.diagnosis for course in courses}
        self._configs = configs
        self._on_verdict = on_verdict
        self._runs: dict[str, Run] = {}
        self._queue = FairQueue[Run](settings.max_runs, settings.queue_length, settings.owner_queue_length)
        self._moved = False
        self._told = 0.0
        self._found = found
        self._isolation: Isolation | None = None
        self._free: list[Box] = []
        self._tended = 0.0

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            # Left last, when every run has ended.
            stack.push_async_callback(in_thread, settle)
            self._scratch = await stack.enter_async_context(Scratch(self._settings.scratch_dir))
            self._found = self._found or await find(self._settings)
            self._isolation = self._found.isolation
            # More than runs: the engine's own builds, the stepper, trials and the readers of artifacts are beside them.
            boxes = stack.enter_context(self._isolation.slots(self._settings.max_runs + _OWN + _READERS))
            spare, second, trial, *readers = boxes[: _OWN + _READERS]
            self._free = list(boxes[_OWN + _READERS :])
            self._steps = Steps(self._scratch, second)
            self._inspector = await stack.enter_async_context(Inspector.begun(readers, self._scratch.new_root))
            side = Side(self._scratch, spare)
            self._seeds = Seeds(side, self._configs, self._settings.cache_dir)
            self._executor = Executor(
                self._settings,
                self._diagnoses,
                self._scratch,
                self._inspector,
                self._seeds,
                trial,
                self.artifact,
                self._on_verdict,
            )
            self._tasks = Supervisor(await stack.enter_async_context(anyio.create_task_group()))
            self._looks = Looks(self._inspector, Yardsticks(side, self._seeds), self._tasks)
            self._tasks.start_soon(self._tend)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        await self.stop()
        self._tasks.end()
        return await self._stack.__aexit__(kind, error, trace)

    @property
    def isolation(self) -> str:
        """The isolation level that runs get."""
        assert self._isolation, "the engine has not been entered"
        return self._isolation.level

    async def health(self) -> str:
        """``ok``, or a sentence that says why runs do not work."""
        if self._tasks.ended or time.monotonic() - self._tended > _LATE:
            return "the engine has ended; restart the playground"
        return "ok" if await self._executor.works() else "runs fail for a reason of the machine's; see the log"

    @property
    def toolchains(self) -> tuple[Toolchain, ...]:
        """The toolchains that were found at the start and that a run can read."""
        assert self._found, "the engine has not been entered"
        return self.usable(self._found.toolchains)

    def usable(self, toolchains: tuple[Toolchain, ...]) -> tuple[Toolchain, ...]:
        """Those toolchains that a run can read at this level of isolation."""
        assert self._isolation, "the engine has not been entered"
        box = self._isolation.box
        return tuple(one for one in toolchains if box.unreadable(one.folders) is None)

    async def warm(self, toolchain: Toolchain) -> None:
        """Learn now what a learner's first run with the toolchain would have to wait for."""
        await self._seeds.of(toolchain)
        await self._inspector.warm()

    async def stop(self) -> None:
        """Cancel every run and wait until each log has its last event; the streams of their readers end."""
        runs = [run for run in self._runs.values() if run.state != "done"]
        for run in runs:
            await self.cancel(run.id)
        with anyio.move_on_after(_STOP_SECONDS):
            for run in runs:
                async for _ in self.events(run.id):
                    pass

    def submit(self, job: Job) -> str:
        """Queue a job; the run's id. Raises ``OwnerQueueFullError``, ``QueueFullError``, ``NothingBuiltError``."""
        self._queue.check(job.queue_owner)
        if job.after is not None:
            self.artifact(job.after)
        run = Run(job)
        self._runs[run.id] = run
        if job.prepare:
            self._queue.hold(job.queue_owner)
            run.stands_at(self._queue.waiting, time.monotonic())
            self._tasks.start_soon(self._prepare, run, job.prepare)
        else:
            self._line_up(run)
        return run.id

    def seen(self, owner: str | None) -> None:
        """Note that an owner is present: for a while, others leave it the last free slot."""
        self._queue.see(owner)

    def status(self, run_id: str) -> RunStatus:
        """Where the run stands. Raises ``NoSuchRunError``."""
        run = self._run(run_id)
        return RunStatus(run.id, run.state, run.job, run.finished(), run.verdict(), run.seconds())

    async def events(self, run_id: str, after_id: int = 0) -> AsyncIterator[Event]:
        """The run's events from ``after_id`` + 1 on, as they come; ends after the verdict.

        Raises ``NoSuchRunError``, also in the middle when the run is dropped: a slow reader keeps no run.
        """
        run = self._run(run_id)
        run.readers += 1
        at = max(after_id, 0)
        try:
            while True:
                changed = run.changed
                while at < len(run.log):
                    yield run.log[at]
                    at += 1
                if run.verdict():
                    return
                if run.dropped:
                    raise NoSuchRunError(run_id)
                if changed is run.changed:
                    await changed.wait()
        finally:
            run.readers -= 1
            run.idle_since = time.monotonic()

    async def cancel(self, run_id: str) -> None:
        """End the run and its process tree; nothing happens when it is done."""
        run = self._run(run_id)
        if run.state == "queued":
            if self._queue.remove(run.job.queue_owner, run):
                self._end_unbegun(run, "cancelled")
                self._moved = True
            else:
                run.held.cancel()
        elif run.state == "running":
            run.scope.cancel()

    async def forget(self, owner: str) -> None:
        """Cancel the owner's runs and drop their events and artefacts."""
        for run in [run for run in self._runs.values() if run.job.owner == owner]:
            with suppress(NoSuchRunError):  # dropped meanwhile
                await self.cancel(run.id)
                async for _ in self.events(run.id):
                    pass
            self._drop(run)

    def artifact(self, run_id: str) -> runner.Built:
        """What the run built. Raises ``NoSuchRunError``, ``NothingBuiltError``."""
        built = self._run(run_id).built
        if built is None or not built.file.exists():
            raise NothingBuiltError(run_id)
        return built

    async def inside(self, run_id: str, since: str | None = None) -> Inside:
        """A look into what the run built. Raises ``NoSuchRunError``, ``NothingBuiltError``."""
        run = self._run(run_id)
        return await self._looks.at(run, self._before(run) if since is None else [self._run(since)])

    async def steps(self, run_id: str) -> Trace:
        """What the run built, or started without building it, step by step.

        Raises ``NoSuchRunError``, ``NothingBuiltError``, ``NotSteppedError``.
        """
        run = self._run(run_id)
        built = self.artifact(run.job.after if run.built is None and run.job.after else run_id)
        try:
            return await self._steps.of(run_id, built.file, run.job.turn)
        except FileNotFoundError:
            raise NothingBuiltError(run_id) from None

    async def card(self, run_id: str) -> Card | None:
        """The card of what the run built, if it built something. Raises ``NoSuchRunError``."""
        return await self._looks.card(self._run(run_id))

    def _before(self, run: Run) -> list[Run]:
        """The owner's last binaries before this one: of the same lesson, and of the last other lesson."""
        found: dict[bool, Run] = {}
        for one in reversed(list(takewhile(lambda one: one is not run, self._runs.values()))):
            if one.built and run.job.owner is not None and one.job.owner == run.job.owner:
                found.setdefault(one.job.lesson.key == run.job.lesson.key, one)
        return [found[same] for same in (True, False) if same in found]

    def _run(self, run_id: str) -> Run:
        try:
            return self._runs[run_id]
        except KeyError:
            raise NoSuchRunError(run_id) from None

    async def _prepare(self, run: Run, prepare: Prepare) -> None:
        """Let a run wait for what it needs, outside of the queue, so that it holds nobody up."""
        status: Literal["cancelled", "failed"] = "cancelled"
        try:
            with run.held:
                toolchain = await prepare(lambda line: run.emit(Output(stream="stderr", text=f"{line}\n")))
                run.job = replace(run.job, toolchain=toolchain, prepare=None)
        except Exception:
            _log.exception("run %s of lesson %s could not be prepared", run.id, run.job.lesson.slug)
            text = "The playground could not prepare this run; its operator finds why in the log.\n"
            run.emit(Output(stream="stderr", text=text))
            status = "failed"
        finally:
            self._queue.release(run.job.queue_owner)
        # A cancellation may come when nothing is waited for any more.
        if run.job.prepare is None and not run.held.cancel_called:
            self._line_up(run)
        else:
            self._end_unbegun(run, status)

    def _line_up(self, run: Run) -> None:
        run.stands_at(self._queue.put(run.job.queue_owner, run), time.monotonic())
        self._moved = True
        self._start_waiting()

    def _end_unbegun(self, run: Run, status: Literal["cancelled", "failed"]) -> None:
        run.emit(Finished(status=status, exit_code=None, seconds=0.0))
        run.end(self._executor.judge(run))

    def _start_waiting(self) -> None:
        started = False
        while run := self._queue.take():
            run.state = "running"
            self._tasks.start_soon(self._execute, run)
            started = self._moved = True
        if started and time.monotonic() - self._told > _TICK:
            self._say_positions()

    def _say_positions(self) -> None:
        """Tell the waiting runs that have moved: an event for each, so changes within a tick are told as one."""
        self._told, self._moved = time.monotonic(), False
        for run, position in self._queue.positions():
            self._moved |= not run.stands_at(position, self._told)

    async def _execute(self, run: Run) -> None:
        box = self._free.pop()
        await self._executor.execute(run, box, partial(self._free_slot, run, box))
        if run.job.attended:
            self._looks.prepare(run)

    def _free_slot(self, run: Run, box: Box) -> None:
        self._queue.finish(run.job.queue_owner)
        self._free.append(box)
        self._start_waiting()

    async def _tend(self) -> None:
        tidied = time.monotonic()
        while True:
            self._tended = time.monotonic()
            await anyio.sleep(_TICK)
            if self._tended - tidied > _TIDY_SECONDS:
                tidied = self._tended
                self._tasks.start_soon(self._scratch.tidy)
            try:
                await self._tend_once(time.monotonic())
            except Exception:
                _log.exception("the runs could not be tended")

    async def _tend_once(self, now: float) -> None:
        for run in list(self._runs.values()):
            idle = now - run.idle_since
            if run.state == "done":
                if idle > self._settings.run_ttl:
                    self._drop(run)
            elif run.job.attended and not run.readers and idle > self._settings.reader_seconds:
                await self.cancel(run.id)
        self._make_room()
        self._start_waiting()  # the last slot is free for everybody once others have been away long enough
        if self._moved:
            self._say_positions()

    def _make_room(self) -> None:
        """Drop finished runs as long as they take too much room: the oldest of whoever takes most of it."""
        done = sorted((run for run in self._runs.values() if run.state == "done"), key=lambda run: run.idle_since)
        while _share(done) > 1:
            owners: dict[str | None, list[Run]] = {}
            for run in done:
                owners.setdefault(run.job.owner, []).append(run)
            oldest = max(owners.values(), key=_share)[0]
            done.remove(oldest)
            self._drop(oldest)

    def _drop(self, run: Run) -> None:
        self._runs.pop(run.id, None)
        run.drop()
        self._steps.drop(run.id)
        if run.built:
            self._tasks.start_soon(self._scratch.discard, run.built.file.parent)


def _share(runs: Sequence[Run]) -> float:
    """What part of the room for finished runs these take."""
    held, built = sum(run.held_bytes for run in runs), sum(run.built.bytes for run in runs if run.built)
    return max(len(runs) / _MOST_KEPT, held / _MOST_HELD, built / _MOST_BUILT)
