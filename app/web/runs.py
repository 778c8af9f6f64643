"""Accept runs from pages and API, and give their results only to the seats that own them."""

import logging
import math
import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta

from app.course import Course, Lesson
from app.engine import (
    ArtifactDetails,
    ArtifactFile,
    Engine,
    EngineUnavailableError,
    JobSpec,
    NoSuchRunError,
    NothingBuiltError,
    OwnerQueueFullError,
    QueueFullError,
    RunStatus,
)
from app.engine.owner_lock import PerOwnerLock
from app.progress import Progress
from app.protocol.command import CommandError, parse
from app.run.workspace import EditError, merge
from app.settings import Settings
from app.stepper import NotSteppedError, Trace
from app.web.choice import ToolchainChoice
from app.web.keeper import ProgressKeeper
from app.web.problem import (
    ProblemError,
    command_not_offered,
    engine_unavailable,
    no_such_run,
    not_stepped,
    nothing_built,
    nothing_built_before,
    owner_queue_full,
    queue_full,
    restarted,
    seat_deleted,
    storage_failed,
)
from app.web.watch import RunWatch

_log = logging.getLogger(__name__)
_DELETED_SECONDS = 60.0
"""Seconds after the deletion of a seat's data in which its runs count as posted before the deletion."""


class RunService:
    """Accept runs, and show each seat only its own."""

    def __init__(
        self,
        settings: Settings,
        courses: Mapping[str, Course],
        engine: Engine,
        progress: Progress,
        keeper: ProgressKeeper,
        choice: ToolchainChoice,
        watch: RunWatch,
    ) -> None:
        self._settings = settings
        self._courses = courses
        self._engine = engine
        self._progress = progress
        self._keeper = keeper
        self._choice = choice
        self._watch = watch
        self._began = datetime.now(UTC)
        self._posting = PerOwnerLock()
        self._deleted: dict[str, float] = {}
        """When the data of seats was deleted."""

    async def submit(
        self,
        lesson: Lesson,
        files: Mapping[str, str],
        command: str,
        toolchain: str | None = None,
        after: str | None = None,
        seat: str | None = None,
        attended: bool = False,
        base: str | None = None,
        queue_owner: str | None = None,
        *,
        again: bool = False,
    ) -> str:
        """Check a run, store the seat's files, and queue it; return the run's id.

        ``base``: see ``ProgressKeeper.texts``. ``attended``, ``queue_owner``, ``again``: see ``JobSpec``.

        Raises ``ProblemError`` and changes nothing if the run cannot be accepted.
        """
        try:
            parsed = parse(command, self._courses[lesson.course].crate)
        except CommandError as error:
            raise command_not_offered(str(error)) from error
        crate = self.crate(lesson, files)
        chosen = await self._choice.choose(lesson, toolchain)
        if after is not None:
            await self.owned(after, seat, field="after")
        if parsed.needs_artifact and after is None:
            raise nothing_built_before()
        job = JobSpec(
            course=lesson.course,
            digest=self._courses[lesson.course].digest,
            lesson=lesson.slug,
            files=crate,
            command=parsed,
            toolchain=chosen.name,
            after=after,
            attended=attended,
            owner=seat,
            queue_owner=queue_owner,
            again=again,
        )
        if seat is None:
            return await self._queue(job, lesson, files, command, base)
        async with self._posting.of(seat):
            if time.monotonic() - self._deleted.get(seat, -math.inf) < _DELETED_SECONDS:
                raise seat_deleted()
            return await self._queue(job, lesson, files, command, base)

    @asynccontextmanager
    async def deletion(self, seat: str) -> AsyncIterator[None]:
        """Delete everything of a seat in this context: it then has no run that is half accepted, and gets none.

        A run that was posted in another tab would otherwise store its texts, and later its outcome, after the deletion.
        """
        async with self._posting.of(seat):
            yield
            now = time.monotonic()
            late = {one: at for one, at in self._deleted.items() if now - at < _DELETED_SECONDS}
            self._deleted = {**late, seat: now}

    def crate(self, lesson: Lesson, files: Mapping[str, str]) -> dict[str, str]:
        """Return the whole crate with these edits; raises ``ProblemError`` 422."""
        try:
            return merge(lesson, files, self._settings.file_bytes)
        except EditError as error:
            raise ProblemError(422, error.code, str(error), error.field) from error

    async def owned(self, run_id: str, seat: str | None, field: str | None = None) -> RunStatus:
        """Return the run if this seat may see it; raises ``ProblemError`` 404, also for another seat's run."""
        try:
            status = await self._engine.status(run_id)
        except NoSuchRunError:
            raise await self._gone(run_id, seat, field) from None
        if status.job.owner is not None and status.job.owner != seat:
            raise no_such_run(field)
        return status

    async def _gone(self, run_id: str, seat: str | None, field: str | None) -> ProblemError:
        """Return why the engine has no such run: a restart, if the seat posted it before this process began."""
        noted = await self._progress.run_noted(seat, run_id) if seat else None
        lost = noted is not None and self._began - timedelta(seconds=self._settings.run_ttl) < noted < self._began
        return restarted() if lost else no_such_run(field)

    async def artifact_details(self, run_id: str, seat: str | None, since: str | None = None) -> ArtifactDetails:
        """Return the card of the binary that a run of this seat built; raises ``ProblemError``."""
        await self.owned(run_id, seat)
        if since is not None:
            await self.owned(since, seat, field="since")
        try:
            return await self._engine.artifact_details(run_id, since)
        except (NothingBuiltError, NoSuchRunError):
            raise nothing_built() from None

    async def steps(self, run_id: str, seat: str | None) -> Trace:
        """Return a trace of the program that a run of this seat built; raises ``ProblemError``."""
        await self.owned(run_id, seat)
        try:
            return await self._engine.steps(run_id)
        except NotSteppedError as error:
            raise not_stepped(str(error)) from error
        except (NothingBuiltError, NoSuchRunError):
            raise nothing_built() from None

    async def built(self, run_id: str, seat: str | None) -> tuple[ArtifactFile, AsyncGenerator[bytes]]:
        """Return the binary that a run of this seat built and its bytes, piece by piece; raises ``ProblemError``."""
        await self.owned(run_id, seat)
        try:
            file = await self._engine.artifact(run_id)
            pieces = self._engine.artifact_bytes(run_id)
            first = await anext(pieces, b"")
        except (NothingBuiltError, NoSuchRunError):
            raise nothing_built() from None
        return file, _continued(first, pieces)

    async def _queue(
        self, job: JobSpec, lesson: Lesson, files: Mapping[str, str], command: str, base: str | None
    ) -> str:
        try:
            if job.owner:
                await self._keeper.texts(job.owner, lesson, job, files, base)
            run_id = await self._engine.submit(job)
            self._watch.accepted(run_id)
            if job.owner:
                await self._progress.note_run(job.owner, lesson.key, run_id, command)
        except NothingBuiltError:
            raise nothing_built_before() from None
        except OwnerQueueFullError:
            by_seat = job.queue_owner == job.owner
            raise owner_queue_full(self._settings.owner_queue_length, by_seat=by_seat) from None
        except QueueFullError:
            by_seat = job.queue_owner == job.owner
            raise queue_full(self._settings.queue_length, by_seat=by_seat) from None
        except EngineUnavailableError as error:
            _log.error("a run was refused: %s", error)
            raise engine_unavailable() from None
        except sqlite3.Error as error:
            self._watch.not_stored(error, job.lesson)
            raise storage_failed(error) from error
        return run_id


async def _continued(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(rest):
        yield first
        async for piece in rest:
            yield piece
