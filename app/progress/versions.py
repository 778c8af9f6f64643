"""The texts of a seat in a lesson: current, as last run, as given, and earlier versions for undo and redo."""

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from app.progress.store import Store

UndoOrRedo = Literal["undo", "redo"]
SnapshotKind = Literal["ran", "given", "startup"]
_MOST = 20


@dataclass(frozen=True)
class Offers:
    """The actions that undo would take back and redo would repeat, in words for people; None where there is none."""

    undo: str | None = None
    redo: str | None = None


class TextVersions:
    """Texts by path, for each seat and lesson.

    A version is the texts before anything but the learner's typing replaced them. Undo moves the current texts to the
    redo stack and redo moves them back, so nothing is lost.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def files(self, seat: str, lesson: str) -> dict[str, str]:
        """Return the current texts, or none if they are the lesson's own."""
        return await self._store.read(lambda db: current_texts(db, seat, lesson))

    async def save(self, seat: str, lesson: str, files: Mapping[str, str]) -> None:
        """Store the current texts, all or none of them."""
        await self._store.together(lambda db: _save(db, seat, lesson, files))

    async def run(
        self, seat: str, lesson: str, files: Mapping[str, str], ran: Mapping[str, str], base: str | None, what: str
    ) -> None:
        """Store the current texts and those of a run in one transaction.

        ``base`` is the fingerprint of the texts from which the page started. If others have been stored since, which
        differ from those of the run, they are kept as the version before ``what``.
        """

        def work(db: sqlite3.Connection) -> None:
            kept = current_texts(db, seat, lesson)
            if base and kept and fingerprint(kept) != base and any(kept[path] != ran.get(path) for path in kept):
                _keep(db, seat, lesson, kept, what)
            _save(db, seat, lesson, files)
            _note(db, seat, lesson, "ran", ran)

        await self._store.together(work)

    async def note(self, seat: str, lesson: str, kind: SnapshotKind, files: Mapping[str, str]) -> None:
        """Store a snapshot: the texts as last run, as given at the beginning, or what the latest build shows."""
        await self._store.together(lambda db: _note(db, seat, lesson, kind, files))

    async def noted(self, seat: str, lesson: str, kind: SnapshotKind) -> dict[str, str] | None:
        """Return a snapshot, or None if there is none."""
        query = "select files from snapshots where seat = ? and lesson = ? and kind = ?"
        rows = await self._store.rows(query, seat, lesson, kind)
        return _texts(rows[0][0]) if rows else None

    async def noted_in_all(self, seat: str, kind: SnapshotKind) -> dict[str, dict[str, str]]:
        """Return the seat's snapshots of this kind by lesson."""
        rows = await self._store.rows("select lesson, files from snapshots where seat = ? and kind = ?", seat, kind)
        return {str(lesson): _texts(files) for lesson, files in rows}

    async def keep(self, seat: str, lesson: str, files: Mapping[str, str], what: str) -> None:
        """Store the texts as the version before the action ``what``, and empty the redo stack."""
        await self._store.together(lambda db: _keep(db, seat, lesson, files, what))

    async def turn(self, seat: str, lesson: str, side: UndoOrRedo, current: Mapping[str, str]) -> bool:
        """Undo or redo: swap ``current`` for the latest version of ``side``. Return False if there is none."""
        other = "redo" if side == "undo" else "undo"

        def work(db: sqlite3.Connection) -> bool:
            query = (
                "select number, what, files from versions where seat = ? and lesson = ? and side = ?"
                " order by number desc limit 1"
            )
            row = db.execute(query, (seat, lesson, side)).fetchone()
            if row is None:
                return False
            number, what, files = row
            where = (seat, lesson, side, number)
            db.execute("delete from versions where seat = ? and lesson = ? and side = ? and number = ?", where)
            _push(db, (seat, lesson, other), what, current)
            _save(db, seat, lesson, _texts(files))
            return True

        return await self._store.together(work)

    async def offers(self, seat: str, lesson: str) -> Offers:
        """Return what undo and redo would do now."""
        return await self._store.read(lambda db: undo_and_redo(db, seat, lesson))


def current_texts(db: sqlite3.Connection, seat: str, lesson: str) -> dict[str, str]:
    """Return what ``TextVersions.files`` returns."""
    rows = db.execute("select path, text from files where seat = ? and lesson = ?", (seat, lesson))
    return {str(path): str(text) for path, text in rows}


def undo_and_redo(db: sqlite3.Connection, seat: str, lesson: str) -> Offers:
    """Return what ``TextVersions.offers`` returns."""
    query = "select side, what from versions where seat = ? and lesson = ? order by number"
    latest = {str(side): str(what) for side, what in db.execute(query, (seat, lesson))}
    return Offers(latest.get("undo"), latest.get("redo"))


def fingerprint(files: Mapping[str, str]) -> str:
    """Return a short digest of the texts."""
    return hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()[:16]


def _texts(stored: object) -> dict[str, str]:
    return {str(path): str(text) for path, text in json.loads(str(stored)).items()}


def _save(db: sqlite3.Connection, seat: str, lesson: str, files: Mapping[str, str]) -> None:
    rows = [(seat, lesson, path, text) for path, text in files.items()]
    db.executemany("insert or replace into files values (?, ?, ?, ?)", rows)


def _note(db: sqlite3.Connection, seat: str, lesson: str, kind: SnapshotKind, files: Mapping[str, str]) -> None:
    query = "insert or replace into snapshots values (?, ?, ?, ?)"
    db.execute(query, (seat, lesson, kind, json.dumps(dict(files))))


def _keep(db: sqlite3.Connection, seat: str, lesson: str, files: Mapping[str, str], what: str) -> None:
    db.execute("delete from versions where seat = ? and lesson = ? and side = 'redo'", (seat, lesson))
    _push(db, (seat, lesson, "undo"), what, files)


def _push(db: sqlite3.Connection, stack: tuple[str, str, str], what: str, files: Mapping[str, str]) -> None:
    query = "select coalesce(max(number), 0) + 1 from versions where seat = ? and lesson = ? and side = ?"
    number = db.execute(query, stack).fetchone()[0]
    db.execute("insert into versions values (?, ?, ?, ?, ?, ?)", (*stack, number, what, json.dumps(dict(files))))
    old = "delete from versions where seat = ? and lesson = ? and side = ? and number <= ?"
    db.execute(old, (*stack, number - _MOST))
