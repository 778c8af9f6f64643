"""Answer a run of a lesson's own text like an identical run before it, instead of building it again."""

import logging
import os
import sysconfig
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import anyio

from app.course import Course
from app.engine.inventory import LocalInventory
from app.engine.kept.rules import agree, is_public, key_of, lasting, only_compiles
from app.engine.kept.store import Answer, AnswerStore, product_stamp
from app.engine.log import Run
from app.engine.scratch import Scratch
from app.protocol.events import Queued, Started, Verdict
from app.protocol.job import JobSpec
from app.runfiles import in_thread
from app.settings import Settings
from app.toolchain import TOOL_PATH, Toolchain

_log = logging.getLogger(__name__)
CHECKED_EVERY = 100
"""Of so many runs with a kept answer, one really runs and is compared."""
_MOST_WAITS = 2
"""Identical runs for which a run waits until it builds for itself. Otherwise a learner who begins and cancels such runs
one after the other would keep everybody else from that build.
"""
_FOLDER = "answers"
_SETTINGS = {
    *("cpu_seconds", "memory_bytes", "processes", "open_files", "file_size_bytes", "control_groups", "run_seconds"),
    *("workspace_bytes", "workspace_files", "output_bytes"),
}
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib", f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}")


class KeptAnswers:
    """The kept answers, and the runs whose answers will be.

    A run is identical to another if everything that its answer depends on is the same. It keeps its own id, log and
    owner, and its own link to the artifact, or a copy. With ``enabled`` False, no run has an answer. Nor does any at
    another isolation level than ``namespaces``, because there the crate's folder has another path in each run.
    """

    def __init__(
        self,
        settings: Settings,
        courses: Mapping[str, Course],
        inventory: LocalInventory,
        scratch: Scratch,
        *,
        enabled: bool,
    ) -> None:
        self._settings = settings
        self._courses = courses
        self._toolchain = inventory.named
        self._machine = (inventory.isolation, settings.model_dump(include=_SETTINGS))
        self._scratch = scratch
        self._enabled = enabled and inventory.isolation == "namespaces"
        self._runs: dict[str, tuple[Run, anyio.Event]] = {}
        """A run in progress for each key, and its end."""
        self._asked = 0

    async def open(self) -> None:
        """Open the store in the cache folder. If that fails, no answers are kept."""
        if self._enabled:
            try:
                self._store = AnswerStore(self._settings.cache_dir / _FOLDER, await in_thread(product_stamp))
                await in_thread(self._store.open)
            except OSError as error:
                self._enabled = False
                _log.warning("answers cannot be kept: %s", error)

    def has_answer(self, run: Run) -> bool:
        """Return True if an identical run has ended, or is in progress, so that this one can be answered like it.

        The other methods use the key that this one finds.
        """
        key = run.answer_key = self._key(run.job)
        return key is not None and not run.job.again and (key in self._runs or key in self._store)

    @contextmanager
    def in_progress(self, run: Run) -> Iterator[None]:
        """Let identical runs wait for this one."""
        key = run.answer_key
        if key is None or key in self._runs:
            yield
            return
        self._runs[key] = run, anyio.Event()
        try:
            yield
        finally:
            self._runs.pop(key)[1].set()

    async def answer(self, run: Run) -> Verdict | None:
        """Fill the run's log up to ``finished``, and return the verdict; return None if the run has to run.

        It first waits for an identical run in progress, which ``run.preparation`` cancels. One run in ``CHECKED_EVERY``
        has to run although its answer is known, so that ``keep`` compares the two.
        """
        key = run.answer_key
        if key is None or _is_cancelled(run):
            return None
        if key in self._runs:
            other, ended = self._runs[key]
            run.answer_waits += 1
            run.state, run.preparation = "queued", anyio.CancelScope()
            with run.preparation:
                await ended.wait()
            end = other.finished()
            if _is_cancelled(run):
                return None
            if end and end.status == "cancelled" and run.answer_waits < _MOST_WAITS:
                return None  # it can still share the build of another one
        self._asked += 1
        run.mark("queue")
        answer = None if self._asked % CHECKED_EVERY == 0 else await self._of_store(key, run)
        if answer is None:
            run.job = run.job.model_copy(update={"again": True})
            return None
        *events, verdict = answer.events
        assert isinstance(verdict, Verdict)
        age = max(0, round(time.time() - answer.at))
        if not run.log:
            run.emit(Queued(position=0))
        for event in events:
            run.emit(event.model_copy(update={"age": age}) if isinstance(event, Started) else event)
        run.built = answer.built
        run.mark("kept")
        return verdict

    async def _of_store(self, key: str, run: Run) -> Answer | None:
        try:
            return await in_thread(self._store.get, key, self._scratch.new_kept())
        except OSError as error:
            _log.warning("the kept answer of run %s could not be used: %s", run.id, error)
            return None

    async def keep(self, run: Run) -> None:
        """Keep the answer of a run that has ended; if another one is kept that differs, log that and remove it."""
        key = run.answer_key
        if key is None:
            return
        events = lasting(run.log, str(self._scratch.path))
        try:
            known = await in_thread(self._store.get, key)
            if known is None and events:
                await in_thread(self._store.put, key, events, run.built)
            elif known is not None and events and not agree(known.events, events):
                _log.warning(
                    "run %s of lesson %s differs from the kept answer, which is removed", run.id, run.job.lesson
                )
                await in_thread(self._store.drop, key)
        except OSError as error:
            _log.warning("the answer of run %s could not be kept: %s", run.id, error)

    def _key(self, job: JobSpec) -> str | None:
        """Return the key of the run's answer, or None for a run without one."""
        toolchain, course = self._toolchain(job.toolchain), self._courses.get(job.course)
        lesson = course.lesson(job.lesson) if course and course.digest == job.digest else None
        if not self._enabled or toolchain is None or lesson is None:
            return None
        if not only_compiles(job.command, job.files) or not is_public(job, lesson):
            return None
        return key_of(job, toolchain, (self._machine, _installed(toolchain)))


def _is_cancelled(run: Run) -> bool:
    return run.preparation.cancel_called or run.scope.cancel_called


def _installed(toolchain: Toolchain) -> list[int]:
    """Return numbers that change when a program or a library is installed, updated or removed."""
    programs = sorted({str(program.parent) for program in toolchain.programs})
    return [_changed(folder) for folder in (*TOOL_PATH.split(":"), *_LIBRARIES, *programs)]


def _changed(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0
