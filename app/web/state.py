"""What the pages and the API share: the course, the engine, the progress, and who may do what."""

import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TypeVar

import anyio
from markupsafe import Markup

from app.command import CommandError, parse
from app.course import Course, Lesson, Shelf, load_shelf
from app.course.checks import foretold, see
from app.engine import (
    Engine,
    Inside,
    Job,
    NoSuchRunError,
    NothingBuiltError,
    OwnerQueueFullError,
    QueueFullError,
    RunStatus,
)
from app.engine.local import Found, LocalEngine
from app.engine.turns import Turns
from app.events import Event, Verdict
from app.progress import Progress, fingerprint
from app.runner import Built
from app.settings import Settings
from app.stepper import NotSteppedError, Trace
from app.toolchain import (
    Demand,
    DoctorReport,
    Toolchain,
    discover,
    examine,
    explanation,
    is_code,
    missing,
    preferred,
)
from app.web.guard.seats import Seats
from app.web.panels import Panels
from app.web.problem import ProblemError, no_such_run
from app.web.prose import prose
from app.web.scripts import imports
from app.web.streams import Downloads, Streams
from app.web.targets import Targets
from app.workspace import EditError, merge

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_LOOK_AGAIN = 5.0
_STORAGE_SECONDS = 1.0
_RETRY_SECONDS = 5


@dataclass(frozen=True)
class Readiness:
    """What ``/readyz`` answers: each part is ``ok`` or a sentence."""

    toolchain: str
    isolation: str
    storage: str
    engine: str

    @property
    def ready(self) -> bool:
        return self.toolchain == self.storage == self.engine == "ok"


class Playground:
    """One running playground; made by the web factory, which opens and closes the engine.

    Raises ``LessonError``, ``sqlite3.Error``, and ``OSError`` when the folder for data cannot be used.
    """

    def __init__(self, settings: Settings, found: Found | None = None) -> None:
        self.settings = settings
        self.shelf: Shelf = load_shelf(settings.lessons_dir, settings.course)
        for sentence in self.shelf.broken.values():
            _log.error("a course cannot be taught: %s", sentence)
        self._essential = (None, *self.shelf.essential_targets)
        """What the courses cannot do without; other targets are set up when a lesson asks for them."""
        self.progress = Progress(settings.data_dir / "progress.sqlite3")
        self.seats = Seats.kept_in(settings.data_dir)
        self.streams = Streams(settings)
        self.downloads = Downloads(settings)
        self.panels = Panels()
        self._drawing = anyio.CapacityLimiter(1)
        self._turns = Turns()
        self._page_turns = Turns()
        self._prose: dict[str, Markup] = {}
        self.editor_imports = imports(settings.static_dir, "js/editor.js")
        configs = cargo_configs(self.shelf.lessons)
        self.local = LocalEngine(settings, self.shelf.courses, configs, self._store_verdict, found)
        self.engine: Engine = self.local
        self._toolchains: tuple[Toolchain, ...] | None = None
        self._looked = 0.0
        self._wanted = anyio.Event()
        self._storage_seen = "", -_STORAGE_SECONDS
        self._checking_storage = anyio.Lock()
        self._look = anyio.Lock()
        self.targets = Targets(self.shelf.lessons, Demand(settings.cache_dir), self.toolchains)
        self._examined: dict[str, tuple[DoctorReport, float]] = {}
        self._examining = anyio.Lock()
        self._explanations: dict[tuple[str, str], str | None] = {}
        self._explaining = anyio.Lock()
        self._askers = Turns()

    @property
    def isolation(self) -> str:
        """The level of isolation that runs get."""
        return self.engine.isolation

    @property
    def root(self) -> str:
        """The path that every address of this playground begins with: ``""`` or like ``/rust``."""
        return self.settings.root_path

    def course(self, course_id: str | None) -> Course:
        """Return the course of that id, the default one for None; raises ``ProblemError`` 404, 503 if it is broken."""
        found = self.shelf.default if course_id is None else self.shelf.course(course_id)
        if found:
            return found
        if sentence := self.shelf.broken.get(course_id or ""):
            raise ProblemError(503, "broken-course", sentence, "course")
        message = f"There is no course of that name; there is {', '.join(each.id for each in self.shelf.courses)}."
        raise ProblemError(404, "no-such-course", message, "course")

    def course_of(self, lesson: Lesson) -> Course:
        """Return the course that a lesson belongs to."""
        return self.shelf.course_of(lesson)

    def lesson(self, name: str, course_id: str | None = None) -> Lesson:
        """Return the lesson of that slug in that course, or named ``course/slug``; raises ``ProblemError``."""
        head, slash, slug = name.partition("/")
        course = self.course(head if slash and course_id is None else course_id)
        if lesson := course.lesson(slug if slash else head):
            return lesson
        raise ProblemError(
            404, "no-such-lesson", "There is no lesson of that name; the course map lists all.", "lesson"
        )

    async def toolchains(self, targets: Sequence[str] = ()) -> tuple[Toolchain, ...]:
        """The toolchains of this machine; looked for again when one has gone, or while a target is missing.

        The host and the essential targets of the courses always count, other ones when ``targets`` names them. A look
        for what is missing goes on behind this answer (``keep_looking``).
        """
        async with self._look:
            known = self._toolchains
            if known is None:
                known = self._toolchains = self.local.toolchains
                self._looked = time.monotonic()
            if not all(program.exists() for one in known for program in one.programs):
                return await self.refresh()
        if missing(known, (*self._essential, *targets)) and time.monotonic() - self._looked > _LOOK_AGAIN:
            self._looked = time.monotonic()
            self._wanted.set()
        return known

    async def keep_looking(self) -> None:
        """Look for the toolchains anew whenever something is missing, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted = anyio.Event()
            try:
                await self.refresh()
            except Exception:
                _log.exception("the toolchains could not be looked at")

    async def examined(self, lesson: Lesson) -> DoctorReport:
        """Examine the machine for what the lesson's targets lack; an answer counts for five seconds."""
        async with self._examining:
            report, then = self._examined.get(lesson.name, (None, 0.0))
            if report is None or time.monotonic() - then > _LOOK_AGAIN:
                lessons = {lesson.name: lesson.targets}
                report = await examine(self.settings.cache_dir, lessons, self.shelf.essential_targets)
                self._examined[lesson.name] = report, time.monotonic()
        return report

    async def explanation(self, code: str, name: str = "", asker: str = "") -> tuple[str, str]:
        """A toolchain's name and its explanation of an error code; raises ``ProblemError`` 404 when it has none.

        Each ``asker`` has one question at a time answered: one who asks for every code delays only itself.
        """
        toolchains = await self.toolchains()
        chosen = next((one for one in toolchains if one.name == name), None) or preferred(toolchains, None)
        if chosen is None:
            raise ProblemError(404, "no-toolchain", "No Rust toolchain is on this machine that could explain an error.")
        text = await self._explained(chosen, code, asker) if is_code(code) else None
        if text is None:
            message = f"Rust {chosen.name} has no explanation of {code[:20]!r}; a code looks like E0463."
            raise ProblemError(404, "no-such-code", message, "code")
        return chosen.name, text

    async def _explained(self, toolchain: Toolchain, code: str, asker: str) -> str | None:
        key = (toolchain.version, code)
        if key not in self._explanations:
            # One compiler at a time, and each question once, also when its answer is that there is none.
            async with self._askers.of(asker), self._explaining:
                if key not in self._explanations:
                    self._explanations[key] = await explanation(toolchain, code)
        return self._explanations[key]

    async def warm(self) -> None:
        """Find the toolchains and learn what their first run would have to ask."""
        for toolchain in await self.toolchains():
            await self.local.warm(toolchain)

    async def readiness(self) -> Readiness:
        """What is ready and what is missing."""
        if self._toolchains is None:
            toolchain = "set-up has not ended yet"
        else:
            lacking = [target or "the host" for target in missing(await self.toolchains(), self._essential)]
            toolchain = f"no toolchain builds for {', '.join(lacking)}; see playground doctor" if lacking else "ok"
        return Readiness(toolchain, self.isolation, await self._storage(), await self.engine.health())

    async def submit(
        self,
        lesson_name: str,
        files: Mapping[str, str],
        command: str,
        toolchain: str | None = None,
        after: str | None = None,
        seat: str | None = None,
        attended: bool = False,
        base: str | None = None,
        queue_owner: str | None = None,
    ) -> str:
        """Check a run, keep the seat's files, and queue it; the run's id.

        ``base`` names the texts that the sender began with: if others are kept by now, as from a second tab,
        those stay as a version. ``queue_owner``: whose turn in the queue the run takes (``Job``).

        Raises ``ProblemError`` and leaves nothing behind when something cannot be accepted.
        """
        lesson = self.lesson(lesson_name)
        try:
            parsed = parse(command)
        except CommandError as error:
            raise ProblemError(422, "command-not-offered", str(error), "command") from error
        crate = self.crate(lesson, files)
        chosen = await self._choose(lesson, toolchain)
        if after is not None:
            self.owned_run(after, seat, field="after")
        if parsed.needs_artifact and after is None:
            raise ProblemError(
                409, "nothing-built", "Nothing has been built yet that could be looked at; build first.", "after"
            )
        prepare = self.targets.preparation(parsed, crate, chosen, await self.toolchains())
        # One that waits for a target may outlast its page: without scripts nobody follows it meanwhile.
        attended = attended and prepare is None
        job = Job(lesson, crate, parsed, chosen, after, attended, seat, prepare, queue_owner)
        return await self._queue(job, files, command, base)

    def seen(self, queue_owner: str | None) -> None:
        """Note a request of this owner: for a while, others leave it the last free slot."""
        self.engine.seen(queue_owner)

    def crate(self, lesson: Lesson, files: Mapping[str, str]) -> dict[str, str]:
        """The whole crate with these edits; raises ``ProblemError`` 422."""
        try:
            return merge(lesson, files, self.settings.file_bytes)
        except EditError as error:
            raise ProblemError(422, error.code, str(error), error.field) from error

    def owned_run(self, run_id: str, seat: str | None, field: str | None = None) -> RunStatus:
        """The run, if this seat may see it; raises ``ProblemError`` 404 also for another seat's."""
        try:
            status = self.engine.status(run_id)
        except NoSuchRunError:
            raise no_such_run(field) from None
        if status.job.owner is not None and status.job.owner != seat:
            raise no_such_run(field)
        return status

    async def inside(self, run_id: str, seat: str | None, since: str | None = None) -> Inside:
        """What is in the binary that a run of this seat built; raises ``ProblemError``."""
        self.owned_run(run_id, seat)
        if since is not None:
            self.owned_run(since, seat, field="since")
        try:
            return await self.engine.inside(run_id, since)
        except (NothingBuiltError, NoSuchRunError):
            raise _nothing_built() from None

    async def steps(self, run_id: str, seat: str | None) -> Trace:
        """The program that a run of this seat built, step by step; raises ``ProblemError``."""
        self.owned_run(run_id, seat)
        try:
            return await self.engine.steps(run_id)
        except NotSteppedError as error:
            raise ProblemError(409, "not-stepped", str(error)) from error
        except (NothingBuiltError, NoSuchRunError):
            raise _nothing_built() from None

    def built(self, run_id: str, seat: str | None) -> Built:
        """The binary that a run of this seat built; raises ``ProblemError``."""
        self.owned_run(run_id, seat)
        try:
            return self.engine.artifact(run_id)
        except (NothingBuiltError, NoSuchRunError):
            raise _nothing_built() from None

    async def forget(self, seat: str) -> None:
        """Delete all that is kept of a seat: its texts, its progress, its runs and what they built."""
        await self.engine.forget(seat)
        await self.progress.forget(seat)
        self.panels.forget(seat)

    def turn(self, run_id: str) -> AbstractAsyncContextManager[None]:
        """The turn of the run's owner to have something drawn: a seat that wants much delays only itself.

        Raises ``NoSuchRunError``.
        """
        return self._turns.of(self.engine.status(run_id).job.turn)

    def page_turn(self, asker: str | None) -> AbstractAsyncContextManager[None]:
        """The turn of a seat, or of an address without one, to have a page made; others come in between."""
        return self._page_turns.of(asker or "")

    def prose(self, lesson: Lesson) -> Markup:
        """The lesson's text as HTML, made once."""
        if lesson.key not in self._prose:
            self._prose[lesson.key] = prose(lesson, self.course_of(lesson).glossary, self.root)
        return self._prose[lesson.key]

    async def draw(self, work: Callable[[], _T]) -> _T:
        """Draw in a thread, beside the loop that everyone waits for; one drawing at a time in all."""
        return await anyio.to_thread.run_sync(work, limiter=self._drawing)

    async def _storage(self) -> str:
        """``ok``, or why progress cannot be written; an answer counts for a second, because to find it writes."""
        async with self._checking_storage:
            if time.monotonic() - self._storage_seen[1] > _STORAGE_SECONDS:
                try:
                    await self.progress.check()
                    found = "ok"
                except sqlite3.Error as error:
                    found = f"progress cannot be written: {error}"
                self._storage_seen = found, time.monotonic()
        return self._storage_seen[0]

    async def _queue(self, job: Job, files: Mapping[str, str], command: str, base: str | None) -> str:
        try:
            if job.owner:
                await self._keep(job.owner, job, files, base)
            run_id = self.engine.submit(job)
            if job.owner:
                await self.progress.note_run(job.owner, job.lesson.key, run_id, command)
        except NothingBuiltError:
            message = "That run built nothing that could be looked at; build first."
            raise ProblemError(409, "nothing-built", message, "after") from None
        except OwnerQueueFullError:
            whose = "Your seat" if job.queue_owner == job.owner else "Your address, without a cookie,"
            message = f"{whose} has {self.settings.owner_queue_length} runs waiting, the most it may have. "
            message += "Cancel one, or try again when one has started."
            raise ProblemError(429, "owner-queue-full", message, retry_after=_RETRY_SECONDS) from None
        except QueueFullError:
            message = (
                f"{self.settings.queue_length} runs are waiting, the most there may be. Try again in a few seconds."
            )
            raise ProblemError(503, "queue-full", message, retry_after=_RETRY_SECONDS) from None
        except sqlite3.Error as error:
            message = f"Your files cannot be stored ({error}); ask whoever runs this playground to look at its disk."
            raise ProblemError(503, "storage", message) from error
        return run_id

    async def _keep(self, seat: str, job: Job, files: Mapping[str, str], base: str | None) -> None:
        key = job.lesson.key
        kept = await self.progress.files(seat, key)
        if base and kept and fingerprint(kept) != base and any(kept[path] != job.files.get(path) for path in kept):
            await self.progress.versions.keep(seat, key, kept, "you ran other files in another tab")
        await self.progress.save(seat, key, files)
        await self.progress.versions.note(seat, key, "ran", {path: job.files[path] for path in job.lesson.editable})

    async def _choose(self, lesson: Lesson, name: str | None) -> Toolchain:
        toolchains = await self.toolchains(lesson.targets)
        names = ", ".join(toolchain.name for toolchain in toolchains)
        if name:
            chosen = next((toolchain for toolchain in toolchains if toolchain.name == name), None)
            if chosen is None:
                message = f"There is no toolchain {name[:20]!r} here; there is {names or 'none at all'}."
                raise ProblemError(422, "no-such-toolchain", message, "toolchain")
            return chosen
        default = preferred(toolchains, lesson.target, *lesson.further_targets, versions=lesson.compilers)
        if default is None:
            message = (
                "No Rust toolchain is on this machine; whoever runs the playground can mend it with playground setup."
            )
            raise ProblemError(503, "no-toolchain", message)
        return default

    async def refresh(self) -> tuple[Toolchain, ...]:
        """Look for the toolchains anew."""
        self._toolchains = self.local.usable(await discover(self.settings.cache_dir))
        self._looked = time.monotonic()
        return self._toolchains

    async def _store_verdict(self, job: Job, events: Sequence[Event], verdict: Verdict) -> None:
        if job.owner and verdict.reached:
            await self.progress.mark(job.owner, job.lesson.key, job.toolchain.name)
        if job.owner:
            await self._settle(job.owner, job, events)

    async def _settle(self, seat: str, job: Job, events: Sequence[Event]) -> None:
        """Note what a prediction came to, if this run is what it was about: the files as given, the first command."""
        prediction, key = job.lesson.prediction, job.lesson.key
        if prediction is None or job.command != parse(job.lesson.commands[0]):
            return
        given = await self.progress.versions.noted(seat, key, "given") or {}
        if job.files not in (job.lesson.files, {**job.lesson.files, **given}):
            return
        right = foretold(prediction, job.toolchain.version, see(job.command, events, job.toolchain.host))
        if len(right) == 1:
            await self.progress.guides.turned_out(seat, key, right[0].id, job.toolchain.name)


def _nothing_built() -> ProblemError:
    message = "This run has built nothing that could be looked into, or is still building it."
    return ProblemError(409, "nothing-built", message)


def cargo_configs(lessons: tuple[Lesson, ...]) -> tuple[tuple[str, str], ...]:
    """The cargo configurations of the lessons' solutions, whose flags change what cargo asks the compiler."""
    path = ".cargo/config.toml"
    return tuple(dict.fromkeys((path, lesson.solution[path]) for lesson in lessons if path in lesson.solution))


def event_id(header: str | None) -> int:
    """The number in a ``Last-Event-ID``; 0, from the start, for anything that is none."""
    return int(header) if header and header.isascii() and header.isdigit() and len(header) < 10 else 0
