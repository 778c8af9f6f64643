"""The class that this playground holds: its state in memory, and who has to be told of a change.

Everything is stored at once, so a killed server loses nothing. Commands such as ``playground class end`` write to the
same database from another process; the state is therefore read again after a second.
"""

import hmac
import logging
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import anyio

from app.course import Course, Lesson
from app.progress import RoomStore, Try
from app.room.model import ClassState, Member, Records, ShownRun, Words
from app.room.stuck import minutes
from app.room.view import Outline, RoomView, Row, room_view
from app.web.guard.windows import Windows

_log = logging.getLogger(__name__)
_STATE_SECONDS = 1.0
_LEAST_SECONDS = 1.0
"""The least time between two updates of an instructor's page."""
_MOST_SECONDS = 5.0
"""An instructor's page is drawn anew after this long even if nothing has happened: minutes pass, and learners leave."""
_FLUSH_SECONDS = 15.0
_PRUNE_SECONDS = 3600.0
_NEWS_SECONDS = 24 * 3600.0
_KEPT_SECONDS = 14 * 24 * 3600.0
_MOST_VERSIONS = 10_000
_KEY_BYTES = 16
FIRST = "first"
"""The id of the instructor who opened the class."""


@dataclass(frozen=True)
class Strip:
    """The part of the class that a learner sees on each page.

    ``member`` is None until they join. ``step`` is the class's step. ``minutes`` are left of the exercise's time,
    0 when it is over. ``version`` changes with all of it.
    """

    version: str
    state: ClassState
    step: Lesson | None
    minutes: int | None
    member: Member | None
    words: tuple[tuple[Words, Lesson], ...]
    shown: ShownRun | None
    moved_ago: str = ""


@dataclass(frozen=True)
class _Viewed:
    """A view of the class, and the versions of what it shows: of everything, of the whole class, and of each seat."""

    at: float
    news: anyio.Event
    shared: int
    of: Counter[str]
    view: RoomView


class Classroom:
    """The class of the default course. ``clock`` returns the seconds since 1970."""

    def __init__(self, room: RoomStore, course: Course, clock: Callable[[], float] = time.time) -> None:
        self.room = room
        self.now = clock
        self.latest = ""
        """The id of the class's latest run, or empty."""
        self.attempts = Windows()
        """Counts attempts at keys and codes."""
        self.steps = tuple(
            Outline(lesson.key, lesson.number, lesson.title, len(lesson.hints)) for lesson in course.lessons
        )
        self.titles = {known.id: known.title for known in course.diagnosis.classes}
        self._lessons = {lesson.key: lesson for lesson in course.lessons}
        self._state: ClassState | None = None
        self._read_at = -_STATE_SECONDS
        self._reading = anyio.Lock()
        self._boot = secrets.token_hex(3)
        self._shared = 0
        self._of: Counter[str] = Counter()
        self._seen: dict[str, float] = {}
        self._members: set[str] = set()
        """Seats that have shown a member's strip. Others are not heard, because seats are free."""
        self._viewed: _Viewed | None = None
        self._viewing = anyio.Lock()
        self._news = anyio.Event()
        self._stopped = False

    async def state(self) -> ClassState | None:
        """Return the open class, or None."""
        # After a restart, many pages ask at once. None of them may hear that there is no class: it would ask no more.
        async with self._reading:
            now = time.monotonic()
            if now - self._read_at >= _STATE_SECONDS:
                # Before the read, so that a change during it is read again.
                self._read_at = now
                try:
                    found = await self.room.state()
                except BaseException:
                    self._read_at = -_STATE_SECONDS
                    raise
                if found != self._state:
                    self._state = found
                    self._shared += 1
            return self._state

    def changed(self, seat: str | None = None) -> None:
        """Tell all pages that something of one seat, or of the whole class, has changed."""
        if seat is None:
            self._shared += 1
            self._read_at = -_STATE_SECONDS
        else:
            self._of[seat] += 1
            if len(self._of) > _MOST_VERSIONS:
                # Seats are free, so their versions must not be kept for ever. A new start makes all of them differ.
                self._of.clear()
                self._boot = secrets.token_hex(3)
        news, self._news = self._news, anyio.Event()
        news.set()

    def stop(self) -> None:
        """End every stream of updates, because the server stops."""
        self._stopped = True
        self.changed()
        self._news.set()  # for streams that begin now

    # What learners do

    async def tried(self, seat: str, one: Try, run: str = "") -> None:
        """Store the outcome of a run, if the seat is a member. The engine calls this before anyone sees the verdict."""
        if await self.state() and await self.room.add(seat, one, run):
            self._seen[seat] = self.now()
            self.latest = run
            self.changed(seat)

    def forgotten(self, seat: str) -> None:
        """Note that everything of a member was deleted."""
        self._members.discard(seat)
        self._seen.pop(seat, None)
        self.changed(seat)

    async def visited(self, seat: str, lesson: Lesson) -> None:
        """Record that a seat has opened a step, if it is a member."""
        if lesson.key in self._lessons and await self.state() and await self.room.member(seat):
            await self.room.visit(seat, lesson.key, self.now())
            self.changed(seat)

    def heard(self, seat: str) -> None:
        """Record that a member's page is open."""
        if seat in self._members:
            self._seen[seat] = self.now()

    def version(self, seat: str) -> str:
        """Return a text that changes whenever the seat's strip does."""
        left = self.minutes(self._state)
        return f"{self._boot}.{self._shared}.{self._of[seat]}.{'' if left is None else left}"

    async def strip(self, seat: str) -> Strip | None:
        """Return what the seat's pages show of the class; None without a class."""
        state = await self.state()
        if state is None:
            return None
        # Before the other reads, so that a page asks again after a change during them. ``state`` counts its own ones.
        version = self.version(seat)
        member = await self.room.member(seat)
        if member:
            self._members.add(seat)
        words = await self.room.words(seat) if member else []
        return Strip(
            version=version,
            state=state,
            step=self._lessons.get(state.step),
            minutes=self.minutes(state),
            member=member,
            words=tuple((each, self._lessons[each.lesson]) for each in words if each.lesson in self._lessons),
            shown=await self.room.shown_by(seat, self.now()) if member else None,
            moved_ago=self._ago(member.moved) if member else "",
        )

    def minutes(self, state: ClassState | None) -> int | None:
        """Return the minutes that are left of the exercise; None without a timer."""
        if state is None or state.timer is None:
            return None
        return max(0, -int(-(state.timer - self.now()) // 60))

    def _ago(self, at: float | None) -> str:
        """Return how long ago that was; empty after a day, when it is no news any more."""
        passed = None if at is None else self.now() - at
        return "" if passed is None or passed > _NEWS_SECONDS else f"{minutes(passed)} ago"

    # What the instructor sees

    async def records(self) -> Records:
        """Return what is known of the class now."""
        found = await self.room.records(self._lessons)
        return replace(found, members=tuple(map(self._with_presence, found.members)))

    def _with_presence(self, member: Member) -> Member:
        seen = self._seen.get(member.seat, 0.0)
        return replace(member, seen=seen) if seen > member.seen else member

    async def view(self) -> RoomView:
        """Return the whole class; all who ask within a second share one, unless something has changed."""
        return await self._view_if(lambda viewed: viewed.news is self._news)

    async def row(self, seat: str) -> Row | None:
        """Return the row of a seat, or None if it is no member.

        What others have changed may be a second old: drawing the whole class costs too much for each page of a learner.
        """

        def is_current(viewed: _Viewed) -> bool:
            return (viewed.shared, viewed.of[seat]) == (self._shared, self._of[seat])

        return (await self._view_if(is_current)).of(seat)

    async def _view_if(self, is_current: Callable[["_Viewed"], bool]) -> RoomView:
        """Return the last view if it is younger than a second and current, else a new one."""
        async with self._viewing:
            viewed = self._viewed
            if viewed is None or not 0 <= self.now() - viewed.at < _LEAST_SECONDS or not is_current(viewed):
                # The versions come before the records, which may be from before a change during the read.
                now, news, shared, of = self.now(), self._news, self._shared, self._of.copy()
                view = room_view(await self.records(), self.steps, now, self.titles)
                viewed = self._viewed = _Viewed(now, news, shared, of, view)
            return viewed.view

    async def updates(self) -> AsyncIterator[None]:
        """Yield whenever a page about the class has to be drawn anew, at most every second."""
        while True:
            news, begun = self._news, time.monotonic()
            yield
            with anyio.move_on_after(_MOST_SECONDS):
                await news.wait()
            if self._stopped:
                return
            await anyio.sleep(max(0.0, _LEAST_SECONDS - (time.monotonic() - begun)))

    async def keep(self) -> None:
        """Store when members were last seen, and delete what is too old, until cancelled."""
        pruned = -_PRUNE_SECONDS
        while True:
            try:
                await self.flush()
                if time.monotonic() - pruned >= _PRUNE_SECONDS:
                    pruned = time.monotonic()
                    if number := await self.room.prune(self.now() - _KEPT_SECONDS):
                        _log.info("%d members of the class were deleted, 14 days after their last run", number)
                        self.changed()
            except sqlite3.Error:
                _log.exception("the class cannot be stored")
            await anyio.sleep(_FLUSH_SECONDS)

    async def flush(self) -> None:
        """Store when members were last seen."""
        seen, self._seen = self._seen, {}
        if seen:
            await self.room.saw(seen.items())


def new_key() -> str:
    """Return a new instructor's key: 128 random bits."""
    return secrets.token_urlsafe(_KEY_BYTES)


def signed(name_id: str, key: str) -> str:
    """Return the cookie's value for an instructor: the id, a dot, a signature that ends with the key."""
    return f"{name_id}.{hmac.digest(key.encode(), f'instructor {name_id}'.encode(), 'sha256').hex()}"
