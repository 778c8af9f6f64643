"""Store of a seat's runs the texts that it ran and the progress that each verdict brings."""

from collections.abc import Mapping, Sequence

from app.course import Course, Lesson
from app.course.checks import matching_options, summarize
from app.engine import Inventory, JobSpec
from app.progress import Progress, fingerprint
from app.protocol.command import parse
from app.protocol.events import Event, Verdict


class ProgressKeeper:
    """Stores progress; an engine tells it of each verdict before any reader sees that."""

    def __init__(self, progress: Progress, courses: Mapping[str, Course], inventory: Inventory) -> None:
        self._progress = progress
        self._courses = courses
        self._inventory = inventory

    async def texts(self, seat: str, lesson: Lesson, job: JobSpec, files: Mapping[str, str], base: str | None) -> None:
        """Keep the texts of a run that is about to be queued.

        ``base`` names the texts that the sender began with: if others are kept by now, as from a second tab, those stay
        as a version.
        """
        key = lesson.key
        kept = await self._progress.files(seat, key)
        if base and kept and fingerprint(kept) != base and any(kept[path] != job.files.get(path) for path in kept):
            await self._progress.versions.keep(seat, key, kept, "you ran other files in another tab")
        await self._progress.save(seat, key, files)
        await self._progress.versions.note(seat, key, "ran", {path: job.files[path] for path in lesson.editable})

    async def verdict(self, job: JobSpec, events: Sequence[Event], verdict: Verdict) -> None:
        """Store what a run has come to."""
        if job.owner is None:
            return
        course = self._courses.get(job.course)
        lesson = course.lesson(job.lesson) if course else None
        if lesson and verdict.reached:
            await self._progress.mark(job.owner, lesson.key, job.toolchain)
        if lesson:
            await self._settle(job.owner, lesson, job, events)

    async def _settle(self, seat: str, lesson: Lesson, job: JobSpec, events: Sequence[Event]) -> None:
        """Note what a prediction came to, if this run is what it was about: the files as given, the first command."""
        prediction, key = lesson.prediction, lesson.key
        if prediction is None or job.command != parse(lesson.commands[0]):
            return
        given = await self._progress.versions.noted(seat, key, "given") or {}
        if job.files not in (lesson.files, {**lesson.files, **given}):
            return
        toolchain = next((one for one in await self._inventory.toolchains() if one.name == job.toolchain), None)
        if toolchain is None:
            return
        right = matching_options(prediction, toolchain.version, summarize(job.command, events, toolchain.host))
        if len(right) == 1:
            await self._progress.guides.turned_out(seat, key, right[0].id, job.toolchain)
