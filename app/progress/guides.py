"""How far a seat was led in a lesson: the hints that it opened, and what it predicted."""

from dataclasses import dataclass

from app.progress.store import Store


@dataclass(frozen=True)
class Predicted:
    """An option that was chosen, and the one that turned out right, by which toolchain; None: not run yet."""

    choice: str
    happened: str | None = None
    toolchain: str | None = None


class Guides:
    """Hints and predictions, for each seat and lesson."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def opened(self, seat: str, lesson: str) -> int:
        """How many hints were opened; one more than there are: the solution, too."""
        rows = await self._store.rows("select opened from guides where seat = ? and lesson = ?", seat, lesson)
        return int(str(rows[0][0])) if rows else 0

    async def open(self, seat: str, lesson: str, number: int) -> None:
        """Note that hints up to this one were opened; a later one stays open."""
        query = (
            "insert into guides (seat, lesson, opened) values (?, ?, ?)"
            " on conflict do update set opened = max(opened, excluded.opened)"
        )
        await self._store.rows(query, seat, lesson, number)

    async def predicted(self, seat: str, lesson: str) -> Predicted | None:
        """What was predicted, and what came of it."""
        query = "select choice, happened, toolchain from guides where seat = ? and lesson = ? and choice is not null"
        rows = await self._store.rows(query, seat, lesson)
        if not rows:
            return None
        choice, happened, toolchain = rows[0]
        return Predicted(str(choice), str(happened) if happened else None, str(toolchain) if toolchain else None)

    async def predict(self, seat: str, lesson: str, choice: str) -> None:
        """Note a prediction, or another one instead; once it has turned out, it stays."""
        query = (
            "insert into guides (seat, lesson, choice) values (?, ?, ?)"
            " on conflict do update set choice = excluded.choice where happened is null"
        )
        await self._store.rows(query, seat, lesson, choice)

    async def turned_out(self, seat: str, lesson: str, happened: str, toolchain: str) -> None:
        """Note what a prediction came to; the first time counts, and only if something was predicted."""
        query = (
            "update guides set happened = ?, toolchain = ?"
            " where seat = ? and lesson = ? and choice is not null and happened is null"
        )
        await self._store.rows(query, happened, toolchain, seat, lesson)
