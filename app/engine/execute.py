"""Executes runs: each in its box, and no fault of one reaches another."""

import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Literal

import anyio
from anyio.abc import TaskGroup

from app import runner
from app.command import parse
from app.course.checks import judge, see
from app.course.diagnosis import Diagnosis
from app.engine import Job, NoSuchRunError, NothingBuiltError
from app.engine.log import Run
from app.engine.scratch import Scratch
from app.engine.seeds import Seeds
from app.events import Diagnostic, Event, Finished, Output, Verdict
from app.inspector import Inspector
from app.machine import StandIn, stand_in
from app.runfiles import RunFolder, removed
from app.sandbox import Box
from app.settings import Settings
from app.toolchain import Toolchain

_log = logging.getLogger(__name__)
_OURS = "The playground could not run this; its operator finds why in the log.\n"
_NOT_KEPT = "What the earlier run built is not kept any more; build it again.\n"
_TRIAL = parse("rustc --version")
_TRIAL_SECONDS = 10.0
_PAUSE = 2.0
"""Seconds between two trials, however often somebody asks."""

OnVerdict = Callable[[Job, Sequence[Event], Verdict], Awaitable[None]]


class Supervisor:
    """A task group in which a task that raises is logged and ends alone."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks

    @property
    def ended(self) -> bool:
        """True once nothing can be started any more."""
        return self._tasks.cancel_scope.cancel_called

    def start_soon(self, work: Callable[..., Coroutine[object, object, object]], *args: object) -> None:
        """Start a task."""
        self._tasks.start_soon(self._supervised, work, args)

    def end(self) -> None:
        """Cancel every task."""
        self._tasks.cancel_scope.cancel()

    @staticmethod
    async def _supervised(work: Callable[..., Coroutine[object, object, object]], args: tuple[object, ...]) -> None:
        try:
            await work(*args)
        except Exception:
            _log.exception("a task of the engine failed: %s", getattr(work, "__qualname__", work))


class Executor:
    """Executes runs.

    ``diagnoses`` has the error classes of each course by its id. ``spare`` is the box for trials; ``artifact`` returns
    what an earlier run built, as that of the engine does.
    """

    def __init__(
        self,
        settings: Settings,
        diagnoses: Mapping[str, Diagnosis],
        scratch: Scratch,
        inspector: Inspector,
        seeds: Seeds,
        spare: Box,
        artifact: Callable[[str], runner.Built],
        on_verdict: OnVerdict,
    ) -> None:
        self._settings = settings
        self._diagnoses = diagnoses
        self._scratch = scratch
        self._inspector = inspector
        self._seeds = seeds
        self._spare = spare
        self._artifact = artifact
        self._on_verdict = on_verdict
        self._machines: StandIn | None = None
        self._failed: Toolchain | None = None
        """The toolchain of the last run, if that run failed for a reason of ours."""
        self._tried = 0.0
        self._trying = anyio.Lock()

    async def execute(self, run: Run, box: Box, freed: Callable[[], None]) -> None:
        """Take a run to its verdict. ``freed`` is called once the box is free for the next run."""
        kept = self._scratch.new_kept()
        try:
            async with self._scratch.folder(box) as folder:
                try:
                    await self._attempt(run, box, folder, kept)
                finally:
                    freed()
                await self.close(run)
        finally:
            if run.built is None:
                # It may have been cancelled when its artifact was out of the crate already.
                with anyio.CancelScope(shield=True):
                    await removed(kept)

    async def close(self, run: Run) -> None:
        """Judge a run that has finished, have its progress stored, and append the verdict."""
        verdict = self.judge(run)
        try:
            await self._on_verdict(run.job, tuple(run.log), verdict)
        except Exception:
            _log.exception("the progress of run %s could not be stored", run.id)
        run.end(verdict)

    def judge(self, run: Run) -> Verdict:
        """The verdict on a run that has finished."""
        job = run.job
        try:
            seen = see(job.command, run.log, job.toolchain.host)
            return judge(job.lesson, self._diagnoses[job.lesson.course], job.toolchain.version, seen)
        except Exception:
            # Readers wait for the verdict.
            _log.exception("run %s of lesson %s could not be judged", run.id, job.lesson.slug)
            return Verdict(reached=False, checks=())

    async def works(self) -> bool:
        """Return True if runs work; a trial finds out when the last one failed for a reason of ours."""
        async with self._trying:
            if self._failed is not None and time.monotonic() - self._tried > _PAUSE:
                await self._try(self._failed)
                self._tried = time.monotonic()
        return self._failed is None

    async def _attempt(self, run: Run, box: Box, folder: RunFolder, kept: Path) -> None:
        began = time.monotonic()
        try:
            with run.scope:
                task = await self._task(run.job, box, folder, kept)
                run.built = await runner.run(task, run.emit)
            self._failed = None if run.finished() else self._failed
            self._finish(run, "cancelled", began)
        except (NoSuchRunError, NothingBuiltError):
            run.emit(Output(stream="stderr", text=_NOT_KEPT))
            self._finish(run, "failed", began)
        except Exception:
            # A fault of ours or of the machine (a full disk): the learner gets a sentence, the operator the trace.
            _log.exception("run %s of lesson %s failed", run.id, run.job.lesson.slug)
            self._failed = run.job.toolchain
            run.emit(Output(stream="stderr", text=_OURS))
            self._finish(run, "failed", began)

    @staticmethod
    def _finish(run: Run, status: Literal["cancelled", "failed"], began: float) -> None:
        if run.finished() is None:
            run.emit(Finished(status=status, exit_code=None, seconds=round(time.monotonic() - began, 3)))

    async def _task(self, job: Job, box: Box, folder: RunFolder, kept: Path) -> runner.Task:
        return runner.Task(
            files=job.files,
            command=job.command,
            toolchain=job.toolchain,
            classify=self._diagnoses[job.lesson.course].classify,
            folder=folder,
            keep=kept,
            seconds=self._settings.run_seconds,
            program_seconds=self._settings.program_seconds,
            box=box,
            facts_of=self._inspector.facts_of,
            after=self._artifact(job.after) if job.after else None,
            machines=await self._stand_in(job.toolchain),
            seed=await self._seeds.of(job.toolchain) if runner.takes_seed(job.command) else {},
        )

    async def _stand_in(self, toolchain: Toolchain) -> StandIn | None:
        # Asked for anew as long as there is none: an emulator may be installed while the server runs.
        if self._machines is None:
            settings = self._settings
            self._machines = await stand_in(settings.cache_dir, (toolchain,), settings.boot_seconds)
        return self._machines

    async def _try(self, toolchain: Toolchain) -> None:
        """Run the compiler for its version, from the laying of a folder to its removal."""
        events: list[Event] = []
        try:
            async with self._scratch.folder(self._spare) as folder:
                task = runner.Task(
                    files={},
                    command=_TRIAL,
                    toolchain=toolchain,
                    classify=_no_class,
                    folder=folder,
                    keep=self._scratch.new_kept(),
                    seconds=_TRIAL_SECONDS,
                    box=self._spare,
                    facts_of=self._inspector.facts_of,
                )
                await runner.run(task, events.append)
        except Exception:
            _log.exception("a trial run failed")
            return
        if any(isinstance(event, Finished) and event.status == "ok" for event in events):
            self._failed = None


def _no_class(_diagnostic: Diagnostic, _source: Literal["rustc", "cargo"]) -> None:
    """A trial's messages belong to no course."""
