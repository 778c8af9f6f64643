"""Hold what pages and API share: the courses, the engine, the progress, and the services built from them."""

import logging
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import anyio
from markupsafe import Markup

from app.course import Course, Lesson, Shelf, is_course_id, load_shelf
from app.engine import Engine, Inventory, JobSpec
from app.engine.inventory import LocalInventory, LocalSetup
from app.engine.local import LocalEngine
from app.engine.owner_lock import PerOwnerLock
from app.progress import Progress
from app.progress.folder import last_backup
from app.progress.seats import lost_half
from app.protocol.events import Event, Verdict
from app.settings import Settings
from app.web.choice import ToolchainChoice
from app.web.classroom import Classroom
from app.web.guard.seats import Seats, examine_key
from app.web.journal import Journal
from app.web.keeper import ProgressKeeper
from app.web.metrics import CurrentValues, metrics_of
from app.web.panels import Panels
from app.web.problem import broken_course, no_such_course, no_such_lesson
from app.web.prose import prose
from app.web.readiness import ReadinessCheck
from app.web.runs import RunService
from app.web.scripts import imports
from app.web.streams import Downloads, Streams
from app.web.watch import Load, RunWatch

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_DAY = 24 * 3600.0


@dataclass(frozen=True)
class Backend:
    """The engine that runs the jobs, and the inventory of its machine."""

    engine: Engine
    inventory: Inventory


class Playground:
    """A running playground. The web factory creates it and opens and closes its engine.

    ``backend`` is an engine that its caller opens. Without one, the playground creates what ``settings.engine`` names.
    Raises ``CourseError``, ``sqlite3.Error``, and ``OSError`` if the data folder cannot be used.
    """

    def __init__(self, settings: Settings, found: LocalSetup | None = None, backend: Backend | None = None) -> None:
        self.settings = settings
        self.shelf: Shelf = load_shelf(settings.lessons_dir, settings.course)
        for sentence in self.shelf.broken.values():
            _log.error("a course cannot be loaded: %s", sentence)
        # First, because a database that is opened and not closed leaves files behind.
        examine_key(settings.data_dir)
        lost = lost_half(settings.data_dir)
        self.progress = Progress(settings.data_dir / "progress.sqlite3")
        if lost:
            _log.warning(lost)
        self.seats = Seats.kept_in(settings.data_dir)
        self.streams = Streams(settings)
        self.downloads = Downloads(settings)
        self.panels = Panels()
        self._drawing = anyio.CapacityLimiter(1)
        self._drawing_lock = PerOwnerLock()
        self._page_lock = PerOwnerLock()
        self._prose: dict[str, Markup] = {}
        self.editor_imports = imports(settings.static_dir, "js/editor.js")
        courses: Mapping[str, Course] = {course.id: course for course in self.shelf.courses}
        self.classroom = Classroom(self.progress.room, self.shelf.default)
        self.inventory: Inventory
        self.metrics = metrics_of(settings.metrics)
        self.journal = Journal(settings)
        self.watch = RunWatch(self.metrics, self.journal)
        self.engine: Engine
        self.opened: AbstractAsyncContextManager[object] = nullcontext()
        """The engine, if this playground opens and closes it."""
        if backend:
            self.engine, self.inventory = backend.engine, backend.inventory
        elif settings.engine == "local":
            self.inventory = here = LocalInventory(settings, courses.values())
            self.engine = self.opened = LocalEngine(
                settings,
                courses.values(),
                self._verdict,
                found,
                inventory=here,
                on_demand=True,
                keep_answers=settings.keep_answers,
                ahead=True,
            )
        else:
            from app.engine.nats.broker import Broker
            from app.engine.nats.engine import NatsEngine
            from app.engine.nats.inventory import NatsInventory

            self.inventory = workers = NatsInventory(
                settings, courses.values(), Broker(settings.engine, "web", settings.engine_keys)
            )
            self.engine = self.opened = NatsEngine(settings, workers, self._verdict)
        self._keeper = keeper = ProgressKeeper(self.progress, courses, self.inventory, self.classroom.tried)
        self.warming = False
        """True while the engine prepares for the first run, which would take seconds longer than the next."""
        self.choice = ToolchainChoice(self.inventory)
        self.runs = RunService(settings, courses, self.engine, self.progress, keeper, self.choice, self.watch)
        self.readiness = ReadinessCheck(
            self.engine, self.inventory, self.progress, warming=lambda: self.warming, load=self.load
        )

    @property
    def isolation(self) -> str:
        """The level of isolation of runs."""
        return self.inventory.isolation

    @property
    def root(self) -> str:
        """The path with which every address of this playground begins: ``""``, or a path such as ``/rust``."""
        return self.settings.root_path

    def course(self, course_id: str | None) -> Course:
        """Return the course of that id, or the default one for None; raises ``ProblemError`` 404, or 503 if broken."""
        found = self.shelf.default if course_id is None else self.shelf.course(course_id)
        if found:
            return found
        if sentence := self.shelf.broken.get(course_id or ""):
            raise broken_course(sentence)
        raise no_such_course(each.id for each in self.shelf.courses)

    def course_of(self, lesson: Lesson) -> Course:
        """Return the lesson's course."""
        return self.shelf.course_of(lesson)

    def lesson(self, name: str, course_id: str | None = None) -> Lesson:
        """Return the lesson of that slug in that course, or named ``course/slug``; raises ``ProblemError``."""
        head, slash, slug = name.partition("/")
        named = head if slash and course_id is None else course_id
        # A head that cannot be a course's id, such as "..", makes the whole name invalid.
        if named is None or is_course_id(named):
            lesson = self.course(named).lesson(slug if slash else head)
            if lesson:
                return lesson
        raise no_such_lesson()

    async def _verdict(self, job: JobSpec, events: Sequence[Event], verdict: Verdict) -> None:
        """Store the outcome of a run, and count it whether or not that works."""
        since_start = await self.watch.since_start(self.engine, job.run_id)
        try:
            await self._keeper.verdict(job, events, verdict)
        except Exception as error:
            self.watch.not_stored(error, job.lesson, job.run_id)
            raise
        finally:
            self.watch.judged(job, events, reached=verdict.reached, since_start=since_start)

    async def load(self) -> Load:
        """Return how many runs wait and run here, and how long the oldest has waited."""
        return await self.watch.load(self.engine)

    async def measured(self) -> bytes:
        """Return the metrics as text."""
        load = await self.load()
        statuses = await self.inventory.target_statuses(
            sorted({t for each in self.shelf.lessons for t in each.targets})
        )
        backup = last_backup(self.settings.data_dir)
        now = CurrentValues(
            waiting=load.waiting,
            running=load.running,
            oldest_wait=load.oldest_wait,
            streams=self.streams.count(),
            store_failures=self.progress.failures,
            backup_at=backup[0].timestamp() if backup else None,
            targets=Counter(status.state for status in statuses),
            crew=await self.inventory.crew(),
        )
        return self.metrics.text(now)

    async def forget(self, seat: str) -> None:
        """Delete everything stored for a seat: its texts, its progress, its runs and their artifacts."""
        async with self.runs.deletion(seat):
            await self.engine.forget(seat)
            was_member = await self.progress.forget(seat)
        self.panels.forget(seat)
        if was_member:
            self.classroom.forgotten(seat)

    async def stop(self) -> None:
        """End every stream, because the server stops."""
        self.classroom.stop()
        await self.engine.stop()

    async def retention(self) -> None:
        """Delete seats that have run nothing for ``seat_days``, at once and then once a day, until cancelled."""
        while self.settings.seat_days:
            try:
                gone = await self.progress.purge(datetime.now(UTC) - timedelta(days=self.settings.seat_days))
                if gone:
                    _log.info(
                        "%d seats had run nothing for %d days and were deleted", len(gone), self.settings.seat_days
                    )
            except sqlite3.Error:
                _log.exception("old seats could not be deleted")
            await anyio.sleep(_DAY)

    @asynccontextmanager
    async def drawing_lock(self, run_id: str) -> AsyncIterator[None]:
        """Hold the lock under which the run's owner has things rendered, so that a heavy owner delays only itself.

        Raises ``NoSuchRunError``.
        """
        status = await self.engine.status(run_id)
        async with self._drawing_lock.of(status.job.lock_owner):
            yield

    def page_lock(self, asker: str | None) -> AbstractAsyncContextManager[None]:
        """Return the lock under which a seat, or an address without one, has pages rendered."""
        return self._page_lock.of(asker or "")

    def prose(self, lesson: Lesson) -> Markup:
        """Return the lesson's text as HTML, which is rendered once."""
        if lesson.key not in self._prose:
            self._prose[lesson.key] = prose(lesson, self.course_of(lesson).glossary, self.root)
        return self._prose[lesson.key]

    async def draw(self, work: Callable[[], _T]) -> _T:
        """Render in a thread, one piece of work at a time, so that the event loop is not blocked."""
        return await anyio.to_thread.run_sync(work, limiter=self._drawing)


def event_id(header: str | None) -> int:
    """Return the number in a ``Last-Event-ID``; 0, which means from the start, if it is malformed."""
    return int(header) if header and header.isascii() and header.isdigit() and len(header) < 10 else 0
