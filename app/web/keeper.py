"""Store the texts that a seat runs and the progress that follows from each verdict."""

from collections.abc import Mapping, Sequence

from app.course import Course, Lesson
from app.course.checks import matching_options, summarize
from app.course.specs import Prediction
from app.engine import Inventory, JobSpec
from app.progress import Progress, fingerprint
from app.protocol.command import parse
from app.protocol.events import Event, Verdict
from app.web.words import RAN_ELSEWHERE


class ProgressKeeper:
    """Store progress. An engine reports each verdict here before any reader sees it."""

    def __init__(self, progress: Progress, courses: Mapping[str, Course], inventory: Inventory) -> None:
        self._progress = progress
        self._courses = courses
        self._inventory = inventory

    async def texts(self, seat: str, lesson: Lesson, job: JobSpec, files: Mapping[str, str], base: str | None) -> None:
        """Store the texts of a run that is about to be queued.

        ``base`` is the fingerprint of the texts that the page started from. If others have been stored since, as from a
        second tab, those are kept as a version.
        """
        key = lesson.key
        kept = await self._progress.files(seat, key)
        if base and kept and fingerprint(kept) != base and any(kept[path] != job.files.get(path) for path in kept):
            await self._progress.versions.keep(seat, key, kept, RAN_ELSEWHERE)
        await self._progress.save(seat, key, files)
        await self._progress.versions.note(seat, key, "ran", {path: job.files[path] for path in lesson.editable})

    async def verdict(self, job: JobSpec, events: Sequence[Event], verdict: Verdict) -> None:
        """Store the outcome of a run."""
        if job.owner is None:
            return
        course = self._courses.get(job.course)
        lesson = course.lesson(job.lesson) if course else None
        if lesson and verdict.reached:
            await self._progress.mark(job.owner, lesson.key, job.toolchain)
        if lesson:
            await self._settle(job.owner, lesson, job, events, reached=verdict.reached)

    async def _settle(self, seat: str, lesson: Lesson, job: JobSpec, events: Sequence[Event], *, reached: bool) -> None:
        """Store the outcome of the prediction if this is the run that the question is about."""
        prediction, key = lesson.prediction, lesson.key
        if prediction is None or not await self._is_about(prediction, seat, lesson, job, reached=reached):
            return
        toolchain = next((one for one in await self._inventory.toolchains() if one.name == job.toolchain), None)
        if toolchain is None:
            return
        right = matching_options(prediction, toolchain.version, summarize(job.command, events, toolchain.host))
        if len(right) == 1:
            await self._progress.guides.turned_out(seat, key, right[0].id, job.toolchain)

    async def _is_about(
        self, prediction: Prediction, seat: str, lesson: Lesson, job: JobSpec, *, reached: bool
    ) -> bool:
        """Return True if the prediction is about this run: it reached the goal, or is ``on_start`` unedited."""
        if prediction.on_start is None:
            return reached
        given = await self._progress.versions.noted(seat, lesson.key, "given") or {}
        unedited = job.files in (lesson.files, {**lesson.files, **given})
        return unedited and job.command == parse(prediction.on_start)
