"""Execute jobs on this machine, each in a sandbox, from crate to verdict. A fault of one does not reach another."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

import anyio

from app.course import Course
from app.course.advice import Case, advised
from app.course.checks import judge, summarize
from app.course.crate import READ, CrateFacts
from app.course.lesson import Lesson
from app.engine import NoSuchRunError, NothingBuiltError, words
from app.engine.log import Run
from app.engine.ready import Needs, Slot
from app.engine.scratch import Scratch
from app.engine.seeds import Seeds
from app.inspector import Inspector
from app.protocol.command import parse
from app.protocol.events import Diagnostic, Event, Finished, Verdict
from app.protocol.job import JobSpec
from app.run import runner
from app.run.machine import StandIn, stand_in
from app.run.workspace import Workspace
from app.runfiles import removed
from app.sandbox import Box
from app.settings import Settings
from app.toolchain import Toolchain

_log = logging.getLogger(__name__)
_TRIAL = parse("rustc --version")
_TRIAL_SECONDS = 10.0
_AFTER = 0.02
"""Seconds after a run before a sandbox is made for the next one, so that the verdict reaches its readers first."""
_PAUSE = 2.0
"""Seconds between two trials, however often ``works`` is called."""


class JobRefusedError(Exception):
    """A job that this machine cannot execute. The message is one sentence."""


class Worker:
    """Executes jobs, one in each of its ``boxes`` at a time.

    ``courses`` have the goals by their ids. ``trial`` is the box for trial runs. ``toolchain`` finds a toolchain by its
    name. ``artifact`` returns what an earlier run built, and raises ``NoSuchRunError`` or ``NothingBuiltError``.
    """

    def __init__(
        self,
        settings: Settings,
        courses: Mapping[str, Course],
        scratch: Scratch,
        inspector: Inspector,
        seeds: Seeds,
        boxes: Sequence[Box],
        trial: Box,
        toolchain: Callable[[str], Toolchain | None],
        artifact: Callable[[str], runner.Built],
    ) -> None:
        self._settings = settings
        self._courses = courses
        self._scratch = scratch
        self._inspector = inspector
        self._seeds = seeds
        self._slots = [Slot(box, scratch, settings.ready_seconds) for box in boxes]
        self._free = self._slots.copy()
        self._trial = trial
        self._toolchain = toolchain
        self._artifact = artifact
        self._machines: StandIn | None = None
        self._failed: str | None = None
        """The toolchain of the last run, if a fault of the playground ended that run."""
        self._tried = 0.0
        self._trying = anyio.Lock()

    async def execute(self, run: Run, freed: Callable[[], None], judged: Callable[[Verdict], Awaitable[None]]) -> None:
        """Execute a run up to its ``finished`` event and judge it.

        ``freed`` is called as soon as the box is free for the next run. ``judged`` is awaited with the verdict before
        the run's folder is removed, so that the verdict does not wait for the disk.
        """
        run.mark("queue")
        slot = self._free.pop()
        kept = self._scratch.new_kept()
        try:
            async with AsyncExitStack() as stack:
                try:
                    await self._attempt(run, slot, kept, stack)
                finally:
                    self._free.append(slot)
                    freed()
                verdict = await self._advised(run, self.judge(run))
                run.mark("verdict")
                await judged(verdict)
        finally:
            if run.built is None:
                # A run that was cancelled late may have moved its artifact there already.
                with anyio.CancelScope(shield=True):
                    await removed(kept)

    async def prepare(self, job: JobSpec) -> None:
        """Make a sandbox ahead for another run like this one in the slot that comes next, unless all are taken."""
        await anyio.sleep(_AFTER)
        toolchain, course = self._toolchain(job.toolchain), self._courses.get(job.course)
        if not self._free or not toolchain or not course or not runner.may_park(job.command):
            return
        slot = self._free[-1]
        await slot.prepare(await self._needs(toolchain, course))

    async def tidy(self) -> None:
        """Remove the sandboxes that were made ahead and cannot be used any more."""
        for slot in self._slots:
            await slot.tidy()

    async def aclose(self) -> None:
        """Remove the sandboxes that were made ahead."""
        for slot in self._slots:
            await slot.aclose()

    def judge(self, run: Run) -> Verdict:
        """Return the verdict on a finished run, without advice. Never raises, because readers wait for the verdict."""
        job = run.job
        try:
            toolchain = self._present(job)
            course, lesson = self._taught(job)
            seen = summarize(job.command, run.log, toolchain.host)
            return judge(lesson, course.diagnosis, toolchain.version, seen)
        except JobRefusedError:
            return Verdict(reached=False, checks=())
        except Exception:
            _log.exception("run %s of lesson %s could not be judged", run.id, job.lesson)
            return Verdict(reached=False, checks=())

    async def _advised(self, run: Run, verdict: Verdict) -> Verdict:
        """Return the verdict with advice when the goal was missed; never raises."""
        job = run.job
        if verdict.reached or not verdict.checks:
            return verdict
        try:
            toolchain = self._present(job)
            course, lesson = self._taught(job)
            crate = await self._crate(job)
            seen = summarize(job.command, run.log, toolchain.host)
            case = Case(lesson, course.lessons, course.diagnosis, toolchain.version, seen, crate)
            return advised(case, verdict)
        except Exception:
            _log.exception("there is no advice for run %s of lesson %s", run.id, job.lesson)
            return verdict

    async def _crate(self, job: JobSpec) -> CrateFacts:
        return await self._inspector.crate_of({path: job.files[path] for path in READ if path in job.files})

    async def works(self) -> bool:
        """Return True if runs work. If a fault ended the last run, a trial run finds out."""
        async with self._trying:
            if self._failed is not None and time.monotonic() - self._tried > _PAUSE:
                await self._try(self._failed)
                self._tried = time.monotonic()
        return self._failed is None

    async def _attempt(self, run: Run, slot: Slot, kept: Path, stack: AsyncExitStack) -> None:
        """Execute a run. Closing ``stack`` removes its folder."""
        began = time.monotonic()
        try:
            with run.scope:
                task = await self._task(run, slot, kept, stack)
                run.built = await runner.run(task, run.emit, run.mark)
            self._failed = None if run.finished() else self._failed
            self._finish(run, "cancelled", began)
        except (NoSuchRunError, NothingBuiltError):
            run.say(words.EXPIRED)
            self._finish(run, "failed", began)
        except JobRefusedError as error:
            run.say(str(error))
            self._finish(run, "failed", began)
        except Exception:
            # A fault of the playground or the machine, such as a full disk: the log gets the traceback.
            _log.exception("run %s of lesson %s failed", run.id, run.job.lesson)
            self._failed = run.job.toolchain
            run.say(words.FAULT)
            self._finish(run, "failed", began)

    @staticmethod
    def _finish(run: Run, status: Literal["cancelled", "failed"], began: float) -> None:
        if run.finished() is None:
            run.emit(Finished(status=status, exit_code=None, seconds=round(time.monotonic() - began, 3)))

    def _present(self, job: JobSpec) -> Toolchain:
        toolchain = self._toolchain(job.toolchain)
        if toolchain is None:
            raise JobRefusedError(words.toolchain_gone(job.toolchain))
        return toolchain

    def _taught(self, job: JobSpec) -> tuple[Course, Lesson]:
        course = self._courses.get(job.course)
        lesson = course.lesson(job.lesson) if course else None
        if course is None or lesson is None or course.digest != job.digest:
            raise JobRefusedError(words.COURSE_CHANGED)
        return course, lesson

    async def _task(self, run: Run, slot: Slot, kept: Path, stack: AsyncExitStack) -> runner.Task:
        job = run.job
        toolchain = self._present(job)
        course, _ = self._taught(job)
        may_park = runner.may_park(job.command) and not job.after
        ready = slot.take(await self._needs(toolchain, course)) if may_park else None
        if ready:
            await stack.enter_async_context(ready.stack)
        return runner.Task(
            files=job.files,
            command=job.command,
            toolchain=toolchain,
            classify=course.diagnosis.classify,
            workspace=ready.workspace if ready else await self._workspace(slot, course, stack),
            keep=kept,
            seconds=self._settings.run_seconds,
            program_seconds=self._settings.program_seconds,
            box=slot.box,
            facts_of=self._inspector.facts_of,
            after=self._artifact(job.after) if job.after else None,
            machines=await self._stand_in(toolchain),
            seed=await self._seeds.of(toolchain) if runner.takes_seed(job.command) else None,
            parked=ready.parked if ready else None,
            must_yield=lambda: run.yields,
        )

    async def _workspace(self, slot: Slot, course: Course, stack: AsyncExitStack) -> Workspace:
        return Workspace(await stack.enter_async_context(self._scratch.folder(slot.box)), course.crate)

    async def _needs(self, toolchain: Toolchain, course: Course) -> Needs:
        folders = runner.readable(toolchain, await self._stand_in(toolchain))
        return Needs(folders, course.crate, await self._seeds.of(toolchain))

    async def _stand_in(self, toolchain: Toolchain) -> StandIn | None:
        # An emulator may be installed while the server runs, so this looks again until there is one.
        if self._machines is None:
            settings = self._settings
            self._machines = await stand_in(settings.cache_dir, (toolchain,), settings.boot_seconds)
        return self._machines

    async def _try(self, name: str) -> None:
        """Run ``rustc --version`` in a folder of its own, and note if that works."""
        toolchain = self._toolchain(name)
        if toolchain is None:
            self._failed = None  # it was removed, and no other toolchain is known to fail
            return
        events: list[Event] = []
        try:
            async with self._scratch.folder(self._trial) as folder:
                task = runner.Task(
                    files={},
                    command=_TRIAL,
                    toolchain=toolchain,
                    classify=_unclassified,
                    workspace=Workspace(folder, "trial"),
                    keep=self._scratch.new_kept(),
                    seconds=_TRIAL_SECONDS,
                    box=self._trial,
                    facts_of=self._inspector.facts_of,
                )
                await runner.run(task, events.append)
        except Exception:
            _log.exception("a trial run failed")
            return
        if any(isinstance(event, Finished) and event.status == "ok" for event in events):
            self._failed = None


def _unclassified(_diagnostic: Diagnostic, _source: Literal["rustc", "cargo"]) -> None:
    """Give no class to the messages of a trial run, which belongs to no course."""
