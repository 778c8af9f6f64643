"""Store a class: its state, its members, their tries, what the instructor sent, and sums that outlive the names.

Nothing about a try but its outcome is stored: no code, no command, no address. Times are seconds since 1970.
"""

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from app.progress.roster import MEMBER, member_of, records_of, shown_of, to_float, to_int
from app.progress.schema import ROOM_TABLES
from app.progress.store import Store
from app.progress.tallies import Tallies
from app.room.model import ClassState, Member, Records, ShownRun, Words

_GONE = 10 * 60.0
_IDLE = "select seat from members where not exists (select 1 from tries where tries.seat = members.seat)"
_NAMED_TABLES = ("members", "tries", "messages", "shown", "links")


@dataclass(frozen=True)
class Try:
    """The outcome of one run. ``error`` is the class of its first error, ``failed`` are the ids of failed checks."""

    course: str
    digest: str
    lesson: str
    at: float
    reached: bool
    status: str
    error: str | None
    failed: tuple[str, ...]
    seconds: float


class RoomStore:
    """The class of this playground. Methods raise ``sqlite3.Error`` when the disk fails."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tallies = Tallies()

    # The class

    async def state(self) -> ClassState | None:
        """Return the open class, or None."""
        rows = await self._store.rows("select key, value from class")
        return ClassState.of({str(key): str(value) for key, value in rows})

    async def open(self, now: float, values: Mapping[str, str]) -> None:
        """Open a class with these values; one that is open goes on with them."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("insert or ignore into class values ('opened', ?)", (str(now),))
            db.executemany("insert or replace into class values (?, ?)", values.items())

        await self._store.together(work)

    async def begin(
        self, now: float, values: Mapping[str, str], instructor: str, fresh_key: str, fresh_code: str
    ) -> tuple[str, str]:
        """Open a class as ``open`` does; return the instructor's key and the learners' code, which are stored then.

        A class that has a key or a code keeps it, also if another process opens it at the same time. With an empty
        ``fresh_code``, learners need none.
        """

        def work(db: sqlite3.Connection) -> tuple[str, str]:
            db.execute("insert or ignore into class values ('opened', ?)", (str(now),))
            db.executemany("insert or replace into class values (?, ?)", values.items())
            # An empty code is none, so it does not count as one to keep.
            db.execute("delete from class where key = 'code' and (value = '' or ? = '')", (fresh_code,))
            db.execute("insert or ignore into class values ('code', ?)", (fresh_code,))
            db.execute("insert or ignore into instructors values (?, ?, '', ?)", (instructor, fresh_key, now))
            [(key,)] = db.execute("select key from instructors where id = ?", (instructor,))
            [(code,)] = db.execute("select value from class where key = 'code'")
            return str(key), str(code)

        return await self._store.together(work)

    async def set(self, **values: str) -> None:
        """Change values of the open class."""

        def work(db: sqlite3.Connection) -> None:
            if db.execute("select 1 from class where key = 'opened'").fetchone():
                db.executemany("insert or replace into class values (?, ?)", values.items())

        await self._store.together(work)

    async def end(self) -> None:
        """End the class: delete names, tries and everything else about people; sums per step stay."""

        def work(db: sqlite3.Connection) -> None:
            _add_up(db, None)
            for table in (*_NAMED_TABLES, *ROOM_TABLES):
                if table != "sums":
                    db.execute(f"delete from {table}")  # noqa: S608  (names of our own)

        await self._store.together(work)

    async def prune(self, before: float) -> int:
        """Delete the members who joined before that time and have run nothing since; return how many they were."""

        def work(db: sqlite3.Connection) -> int:
            query = (
                "select seat from members where joined < ?"
                " and not exists (select 1 from tries where tries.seat = members.seat and at >= ?)"
            )
            gone = [str(seat) for (seat,) in db.execute(query, (before, before))]
            for seat in gone:
                forget_member(db, seat)
            return len(gone)

        return await self._store.together(work)

    # Members

    async def join(self, seat: str, name: str, now: float, most: int = 500) -> bool:
        """Make the seat a member with that name, or rename it; return False if ``most`` others are members.

        In a full class, a member who has run nothing and whose page has been closed for ten minutes gives way.
        """

        def work(db: sqlite3.Connection) -> bool:
            (others,) = db.execute("select count(*) from members where seat != ?", (seat,)).fetchone()
            if others >= most:
                gone = db.execute(f"{_IDLE} and seen < ? and seat != ? order by seen", (now - _GONE, seat)).fetchone()
                if gone is None:
                    return False
                forget_member(db, gone[0])
            db.execute(
                "insert into members (seat, name, joined, seen, since) values (?, ?, ?, ?, ?)"
                " on conflict (seat) do update set name = excluded.name, seen = excluded.seen",
                (seat, name, now, now, now),
            )
            return True

        return await self._store.together(work)

    async def leave(self, seat: str) -> bool:
        """Delete the member and everything of it in the class; return False if it was none. Its progress stays."""
        return await self._store.together(lambda db: forget_member(db, seat))

    async def sweep(self) -> list[str]:
        """Delete the members who have run nothing since they joined; return their seats."""

        def work(db: sqlite3.Connection) -> list[str]:
            seats = [str(seat) for (seat,) in db.execute(_IDLE)]
            for seat in seats:
                forget_member(db, seat)
            return seats

        return await self._store.together(work)

    async def member(self, seat: str) -> Member | None:
        """Return the seat as a member, or None."""
        rows = await self._store.rows(f"select {MEMBER} from members where seat = ?", seat)  # noqa: S608 - names of our own
        return member_of(rows[0]) if rows else None

    async def numbered(self, number: int) -> Member | None:
        """Return the member of that number, or None."""
        rows = await self._store.rows(f"select {MEMBER} from members where number = ?", number)  # noqa: S608 - names of our own
        return member_of(rows[0]) if rows else None

    async def visit(self, seat: str, lesson: str, now: float) -> None:
        """Record that a member opened a step."""
        query = (
            "update members set seen = ?, since = case when lesson = ? then since else ? end, lesson = ? where seat = ?"
        )
        await self._store.together(lambda db: db.execute(query, (now, lesson, now, lesson, seat)))

    async def saw(self, seats: Iterable[tuple[str, float]]) -> None:
        """Record when members were last heard of."""
        times = [(at, seat) for seat, at in seats]
        await self._store.together(lambda db: db.executemany("update members set seen = ? where seat = ?", times))

    async def hand(self, seat: str, at: float | None) -> None:
        """Raise a member's hand, or lower it with None. A raised hand keeps its place in the queue."""
        query = "update members set hand = case when ? is null then null else coalesce(hand, ?) end where seat = ?"
        await self._store.together(lambda db: db.execute(query, (at, at, seat)))

    # Tries

    async def add(self, seat: str, one: Try, run: str = "") -> bool:
        """Store the outcome of a member's run; return False if the seat is no member of an open class.

        Return False as well if the outcome of the run with this id is stored. An empty id is that of no run.
        """
        # Not `insert or ignore`, which would also hide a value that is missing.
        query = (
            "insert into tries (seat, course, digest, lesson, at, reached, status, class, failed, seconds, run)"
            " select ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? where exists (select 1 from members where seat = ?)"
            " and exists (select 1 from class where key = 'opened')"
            " on conflict (run) where run != '' do nothing"
        )
        values = (
            *(seat, one.course, one.digest, one.lesson, one.at, int(one.reached), one.status, one.error),
            *(" ".join(one.failed), one.seconds, run, seat),
        )

        def work(db: sqlite3.Connection) -> bool:
            stored = db.execute(query, values).rowcount > 0
            if stored:
                move = "update members set since = ?, lesson = ? where seat = ? and lesson != ?"
                db.execute(move, (one.at, one.lesson, seat, one.lesson))
            return stored

        return await self._store.together(work)

    async def records(self, lessons: Collection[str]) -> Records:
        """Return the members with their tries, their opened hints and their shown runs, for these lessons' keys."""
        return await self._store.read(lambda db: records_of(db, lessons, self._tallies.read(db)))

    async def tries(self, *, names: bool) -> list[dict[str, object]]:
        """Return every try of the class in order; with ``names``, also whose it was, by name and number."""
        query = (
            "select number, name, course, digest, tries.lesson, at, reached, status, class, failed, seconds"
            " from tries join members using (seat) order by at"
        )
        rows = await self._store.rows(query)
        keys = ("seat", "name", "course", "digest", "lesson", "at", "reached", "status", "error", "failed", "seconds")
        found = [dict(zip(keys, row, strict=True)) for row in rows]
        return found if names else [{key: row[key] for key in keys[2:]} for row in found]

    async def sums(self) -> list[dict[str, object]]:
        """Return the sums per step: of the members who are there and of those whose names were deleted."""

        def work(db: sqlite3.Connection) -> list[tuple[object, ...]]:
            return db.execute(
                f"select lesson, what, sum(count) from ({_SUMS.format(where='')} union all"  # noqa: S608 - names of our own
                " select lesson, what, count from sums) group by lesson, what order by lesson, what"
            ).fetchall()

        rows = await self._store.together(work)
        return [dict(zip(("lesson", "what", "count"), row, strict=True)) for row in rows]

    # Words and runs between instructor and learners

    async def send(self, seat: str, lesson: str, kind: str, text: str, now: float) -> None:
        """Store what the instructor sends to a learner."""
        query = "insert into messages (seat, lesson, at, kind, text) values (?, ?, ?, ?, ?)"
        await self._store.together(lambda db: db.execute(query, (seat, lesson, now, kind, text)))

    async def words(self, seat: str) -> list[Words]:
        """Return what the instructor sent to the seat and it has not closed, oldest first."""
        rows = await self._store.rows(
            "select id, seat, lesson, at, kind, text from messages where seat = ? order by id", seat
        )
        return [
            Words(to_int(id_), str(whose), str(lesson), to_float(at), cast("Literal['hint']", kind), str(text))
            for id_, whose, lesson, at, kind, text in rows
        ]

    async def close_words(self, seat: str, number: int) -> None:
        """Delete one of the messages to the seat."""
        await self._store.rows("delete from messages where seat = ? and id = ?", seat, number)

    async def show(self, seat: str, run: str, lesson: str, until: float) -> None:
        """Show a run to the instructor; the seat's earlier one is shown no more."""
        query = "insert or replace into shown (seat, run, lesson, until) values (?, ?, ?, ?)"
        await self._store.together(lambda db: db.execute(query, (seat, run, lesson, until)))

    async def shown(self, number: int, now: float) -> ShownRun | None:
        """Return the shown run of that number, or None."""
        rows = await self._store.rows(
            "select id, seat, run, lesson, until from shown where id = ? and until > ?", number, int(now)
        )
        return shown_of(rows[0]) if rows else None

    async def shown_by(self, seat: str, now: float) -> ShownRun | None:
        """Return the run that the seat shows, or None."""
        rows = await self._store.rows(
            "select id, seat, run, lesson, until from shown where seat = ? and until > ?", seat, int(now)
        )
        return shown_of(rows[0]) if rows else None

    async def hide(self, number: int) -> None:
        """Show a run no more."""
        await self._store.rows("delete from shown where id = ?", number)

    # Links to seats

    async def ask(self, seat: str, now: float) -> None:
        """Record that the learner asked for a link to their seat."""
        await self._store.together(lambda db: db.execute("update members set asked = ? where seat = ?", (now, seat)))

    async def link(self, hashed: str, seat: str, until: float, maker: str) -> None:
        """Store a link to a seat by its hash; an earlier one of the same maker is void."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("delete from links where seat = ? and maker = ?", (seat, maker))
            db.execute("insert into links values (?, ?, ?, ?)", (hashed, seat, until, maker))

        await self._store.together(work)

    async def linked(self, hashed: str, now: float) -> tuple[str, str] | None:
        """Return the seat and the maker of a link that is still good, or None."""
        rows = await self._store.rows("select seat, maker from links where hash = ? and until > ?", hashed, int(now))
        return (str(rows[0][0]), str(rows[0][1])) if rows else None

    async def use(self, hashed: str, now: float) -> tuple[str, str] | None:
        """Use a link up: return its seat and its maker, or None if it was used, is too old, or never was."""

        def work(db: sqlite3.Connection) -> tuple[str, str] | None:
            query = "delete from links where hash = ? and until > ? returning seat, maker"
            found = db.execute(query, (hashed, now)).fetchone()
            if found is None:
                return None
            db.execute(
                "update members set moved = ?, mover = ?, asked = null where seat = ?", (now, found[1], found[0])
            )
            return str(found[0]), str(found[1])

        return await self._store.together(work)

    # Instructors, and what the class predicted

    async def admit(self, name_id: str, key: str, name: str, now: float) -> None:
        """Store an instructor's key, or replace it."""
        query = "insert or replace into instructors values (?, ?, ?, ?)"
        await self._store.together(lambda db: db.execute(query, (name_id, key, name, now)))

    async def instructors(self) -> dict[str, tuple[str, str]]:
        """Return key and name of each instructor by id, the first one first."""
        rows = await self._store.rows("select id, key, name from instructors order by at")
        return {str(name_id): (str(key), str(name)) for name_id, key, name in rows}

    async def withdraw(self, name_id: str) -> bool:
        """Delete an instructor's key; return False if there is none of that id."""
        return bool(await self._store.rows("delete from instructors where id = ? returning id", name_id))

    async def poll(self, lesson: str) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """Return how many members chose each option of a step's prediction, and what happened in how many runs."""
        found: list[dict[str, int]] = []
        for column in ("choice", "happened"):
            query = (
                f"select {column}, count(*) from guides join members using (seat)"  # noqa: S608  (names of our own)
                f" where guides.lesson = ? and {column} is not null group by {column}"
            )
            found.append({str(option): to_int(count) for option, count in await self._store.rows(query, lesson)})
        return found[0], found[1]


_SUMS = """
    select lesson, 'learners' as what, count(distinct seat) as count from tries {where} group by lesson
    union all select lesson, 'runs', count(*) from tries {where} group by lesson
    union all select lesson, 'missed', count(*) - sum(reached) from tries {where} group by lesson
    union all select lesson, 'reached', count(distinct case when reached then seat end) from tries {where}
        group by lesson
    union all select lesson, 'error ' || class, count(*) from (select * from tries {where}) where class is not null
        group by lesson, class
"""
"""Sums per step. An error class counts runs, also those whose goal it was."""


def forget_member(db: sqlite3.Connection, seat: str) -> bool:
    """Delete a seat from the class within a transaction, but not from the sums; return True if it was a member."""
    was_member = db.execute("select 1 from members where seat = ?", (seat,)).fetchone() is not None
    _add_up(db, seat)
    for table in _NAMED_TABLES:
        db.execute(f"delete from {table} where seat = ?", (seat,))  # noqa: S608  (names of our own)
    return was_member


def _add_up(db: sqlite3.Connection, seat: str | None) -> None:
    """Add the tries of a seat, or of every seat, to the sums."""
    where = "" if seat is None else "where seat = :seat"
    db.execute(
        f"insert into sums (lesson, what, count) select * from ({_SUMS.format(where=where)}) where true"  # noqa: S608 - names of our own
        " on conflict do update set count = count + excluded.count",
        {} if seat is None else {"seat": seat},
    )
