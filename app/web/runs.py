"""The runs of this playground, as pages and API ask for them: who may post one, and who may see what came of it."""

import sqlite3
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from app.course import Course, Lesson
from app.engine import (
    ArtifactDetails,
    ArtifactFile,
    Engine,
    JobSpec,
    NoSuchRunError,
    NothingBuiltError,
    OwnerQueueFullError,
    QueueFullError,
    RunStatus,
)
from app.progress import Progress
from app.protocol.command import CommandError, parse
from app.run.workspace import EditError, merge
from app.settings import Settings
from app.stepper import NotSteppedError, Trace
from app.web.choice import ToolchainChoice
from app.web.keeper import ProgressKeeper
from app.web.problem import ProblemError, no_such_run

_RETRY_SECONDS = 5


class RunService:
    """Accepts runs, and lets each seat see its own."""

    def __init__(
        self,
        settings: Settings,
        courses: Mapping[str, Course],
        engine: Engine,
        progress: Progress,
        keeper: ProgressKeeper,
        choice: ToolchainChoice,
    ) -> None:
        self._settings = settings
        self._courses = courses
        self._engine = engine
        self._progress = progress
        self._keeper = keeper
        self._choice = choice

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
    ) -> str:
        """Check a run, keep the seat's files, and queue it; return the run's id.

        ``base``: see ``ProgressKeeper.texts``. ``attended``, ``queue_owner``: see ``JobSpec``.

        Raises ``ProblemError`` and leaves nothing behind when something cannot be accepted.
        """
        try:
            parsed = parse(command, self._courses[lesson.course].crate)
        except CommandError as error:
            raise ProblemError(422, "command-not-offered", str(error), "command") from error
        crate = self.crate(lesson, files)
        chosen = await self._choice.choose(lesson, toolchain)
        if after is not None:
            await self.owned(after, seat, field="after")
        if parsed.needs_artifact and after is None:
            raise ProblemError(
                409, "nothing-built", "Nothing has been built yet that could be looked at; build first.", "after"
            )
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
        )
        return await self._queue(job, lesson, files, command, base)

    def crate(self, lesson: Lesson, files: Mapping[str, str]) -> dict[str, str]:
        """Return the whole crate with these edits; raises ``ProblemError`` 422."""
        try:
            return merge(lesson, files, self._settings.file_bytes)
        except EditError as error:
            raise ProblemError(422, error.code, str(error), error.field) from error

    async def owned(self, run_id: str, seat: str | None, field: str | None = None) -> RunStatus:
        """Return the run, if this seat may see it; raises ``ProblemError`` 404 also for another seat's."""
        try:
            status = await self._engine.status(run_id)
        except NoSuchRunError:
            raise no_such_run(field) from None
        if status.job.owner is not None and status.job.owner != seat:
            raise no_such_run(field)
        return status

    async def artifact_details(self, run_id: str, seat: str | None, since: str | None = None) -> ArtifactDetails:
        """Return what is in the binary that a run of this seat built; raises ``ProblemError``."""
        await self.owned(run_id, seat)
        if since is not None:
            await self.owned(since, seat, field="since")
        try:
            return await self._engine.artifact_details(run_id, since)
        except (NothingBuiltError, NoSuchRunError):
            raise _nothing_built() from None

    async def steps(self, run_id: str, seat: str | None) -> Trace:
        """Return the program that a run of this seat built, step by step; raises ``ProblemError``."""
        await self.owned(run_id, seat)
        try:
            return await self._engine.steps(run_id)
        except NotSteppedError as error:
            raise ProblemError(409, "not-stepped", str(error)) from error
        except (NothingBuiltError, NoSuchRunError):
            raise _nothing_built() from None

    async def built(self, run_id: str, seat: str | None) -> tuple[ArtifactFile, AsyncGenerator[bytes]]:
        """Return the binary that a run of this seat built, and its bytes in pieces; raises ``ProblemError``."""
        await self.owned(run_id, seat)
        try:
            file = await self._engine.artifact(run_id)
            pieces = self._engine.artifact_bytes(run_id)
            first = await anext(pieces, b"")
        except (NothingBuiltError, NoSuchRunError):
            raise _nothing_built() from None
        return file, _continued(first, pieces)

    async def _queue(
        self, job: JobSpec, lesson: Lesson, files: Mapping[str, str], command: str, base: str | None
    ) -> str:
        try:
            if job.owner:
                await self._keeper.texts(job.owner, lesson, job, files, base)
            run_id = await self._engine.submit(job)
            if job.owner:
                await self._progress.note_run(job.owner, lesson.key, run_id, command)
        except NothingBuiltError:
            message = "That run built nothing that could be looked at; build first."
            raise ProblemError(409, "nothing-built", message, "after") from None
        except OwnerQueueFullError:
            whose = "Your seat" if job.queue_owner == job.owner else "Your address, without a cookie,"
            message = f"{whose} has {self._settings.owner_queue_length} runs waiting, the most it may have. "
            message += "Cancel one, or try again when one has started."
            raise ProblemError(429, "owner-queue-full", message, retry_after=_RETRY_SECONDS) from None
        except QueueFullError:
            message = (
                f"{self._settings.queue_length} runs are waiting, the most there may be. Try again in a few seconds."
            )
            raise ProblemError(503, "queue-full", message, retry_after=_RETRY_SECONDS) from None
        except sqlite3.Error as error:
            message = f"Your files cannot be stored ({error}); ask whoever runs this playground to look at its disk."
            raise ProblemError(503, "storage", message) from error
        return run_id


async def _continued(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(rest):
        yield first
        async for piece in rest:
            yield piece


def _nothing_built() -> ProblemError:
    message = "This run has built nothing that could be looked into, or is still building it."
    return ProblemError(409, "nothing-built", message)
