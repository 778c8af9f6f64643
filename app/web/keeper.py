"""Store the texts that a seat runs and the progress that follows from each verdict."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from app.course import Course, Lesson
from app.course.checks import matching_options, summarize
from app.course.specs import Prediction
from app.course.startup import Startup, after_errors, latest, of_artifact
from app.engine import Inventory, JobSpec
from app.progress import Progress, Try
from app.protocol.command import parse
from app.protocol.events import Artifact, Diagnostic, Event, Finished, Verdict
from app.web.words import RAN_ELSEWHERE

Tried = Callable[[str, Try, str], Awaitable[None]]
"""Receives a seat, the outcome of its run, and the run's id."""


class ProgressKeeper:
    """Store progress. An engine reports each verdict here before any reader sees it.

    ``tried`` receives the outcome of each seat's run, for the class.
    """

    def __init__(self, progress: Progress, courses: Mapping[str, Course], inventory: Inventory, tried: Tried) -> None:
        self._progress = progress
        self._courses = courses
        self._inventory = inventory
        self._tried = tried

    async def texts(self, seat: str, lesson: Lesson, job: JobSpec, files: Mapping[str, str], base: str | None) -> None:
        """Store the texts of a run that is about to be queued.

        ``base`` is the fingerprint of the texts that the page started from. If others have been stored since, as from a
        second tab, those are kept as a version.
        """
        ran = {path: job.files[path] for path in lesson.editable}
        await self._progress.versions.run(seat, lesson.key, files, ran, base, RAN_ELSEWHERE)

    async def verdict(self, job: JobSpec, events: Sequence[Event], verdict: Verdict) -> None:
        """Store the outcome of a run."""
        if job.owner is None:
            return
        course = self._courses.get(job.course)
        lesson = course.lesson(job.lesson) if course else None
        if not course or not lesson:
            return
        if verdict.reached:
            await self._progress.mark(job.owner, lesson.key, job.toolchain)
        await self._settle(job.owner, lesson, job, events, reached=verdict.reached)
        await self._note_startup(job.owner, course, lesson, events)
        await self._tried(job.owner, outcome(course, lesson, events, verdict), job.run_id)

    async def _note_startup(self, seat: str, course: Course, lesson: Lesson, events: Sequence[Event]) -> None:
        """Store what a build shows of the chain before the learner's code; a run that shows nothing changes nothing."""
        now: Startup | None = None
        if artifact := next((event for event in events if isinstance(event, Artifact)), None):
            now = of_artifact(artifact)
        else:
            errors = (event for event in events if isinstance(event, Diagnostic))
            gone = {link for error in errors for link in course.diagnosis.without(error)}
            if gone:
                notes = await self._progress.versions.noted_in_all(seat, "startup")
                before = latest(notes, [one.key for one in course.up_to(lesson)[:-1]]) or Startup()
                now = after_errors(before, gone)
        if now:
            await self._progress.versions.note(seat, lesson.key, "startup", now.as_texts())

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


def outcome(course: Course, lesson: Lesson, events: Sequence[Event], verdict: Verdict) -> Try:
    """Return a run's outcome as the class keeps it: neither code nor command, only what came of it."""
    end = next((event for event in events if isinstance(event, Finished)), None)
    errors = (
        event.error_class for event in events if isinstance(event, Diagnostic) and event.level.startswith("error")
    )
    return Try(
        course=course.id,
        digest=course.digest,
        lesson=lesson.key,
        at=time.time(),
        reached=verdict.reached,
        status=end.status if end else "failed",
        error=next((name for name in errors if name), None),
        failed=tuple(check.id for check in verdict.checks if not check.ok),
        seconds=end.seconds if end else 0.0,
    )
