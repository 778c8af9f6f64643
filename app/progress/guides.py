"""The hints that a seat has opened in a lesson, and what it predicted."""

from dataclasses import dataclass

from app.progress.store import Store


@dataclass(frozen=True)
class Predicted:
    """The chosen option, and the right one according to a run of ``toolchain``; None before that run."""

    choice: str
    happened: str | None = None
    toolchain: str | None = None


class Guides:
    """Hints and predictions by seat and lesson."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def opened(self, seat: str, lesson: str) -> int:
        """Return the number of opened hints; one more than the lesson has means the solution, too."""
        rows = await self._store.rows("select opened from guides where seat = ? and lesson = ?", seat, lesson)
        return int(str(rows[0][0])) if rows else 0

    async def open(self, seat: str, lesson: str, number: int) -> None:
        """Record that the hints up to this one are open. Later ones that are open stay open."""
        query = (
            "insert into guides (seat, lesson, opened) values (?, ?, ?)"
            " on conflict do update set opened = max(opened, excluded.opened)"
        )
        await self._store.rows(query, seat, lesson, number)

    async def predicted(self, seat: str, lesson: str) -> Predicted | None:
        """Return the prediction and its result, or None without a prediction."""
        query = "select choice, happened, toolchain from guides where seat = ? and lesson = ? and choice is not null"
        rows = await self._store.rows(query, seat, lesson)
        if not rows:
            return None
        choice, happened, toolchain = rows[0]
        return Predicted(str(choice), str(happened) if happened else None, str(toolchain) if toolchain else None)

    async def predict(self, seat: str, lesson: str, choice: str) -> None:
        """Record a prediction, or replace it as long as it has no result."""
        query = (
            "insert into guides (seat, lesson, choice) values (?, ?, ?)"
            " on conflict do update set choice = excluded.choice where happened is null"
        )
        await self._store.rows(query, seat, lesson, choice)

    async def turned_out(self, seat: str, lesson: str, happened: str, toolchain: str) -> None:
        """Record a prediction's result, if there is a prediction without one."""
        query = (
            "update guides set happened = ?, toolchain = ?"
            " where seat = ? and lesson = ? and choice is not null and happened is null"
        )
        await self._store.rows(query, happened, toolchain, seat, lesson)
