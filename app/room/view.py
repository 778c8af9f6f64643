"""Compose what the instructor sees: figures, the learners to look at first, the map, raised hands, one step's sums."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, NamedTuple

from app.room.model import Member, Records, ShownRun, Tally
from app.room.names import labels
from app.room.stuck import median_seconds, reasons

Sort = Literal["stuck", "name", "step"]
_MOST_CARDS = 5
_MOST_DOTS = 5
FEW = 3
"""Smaller counts are not shown to a whole room, where they would point at people."""


@dataclass(frozen=True)
class Outline:
    """A step as the classroom knows it: its key, its number, its title, and how many hints it has."""

    key: str
    number: int
    title: str
    hints: int


class Cell(NamedTuple):
    """One learner in one step. ``dots`` are tries that missed the goal, ``more`` says that there are even more.

    A tuple, because a class of a hundred needs thousands of them each second.
    """

    lesson: str
    reached: bool = False
    dots: int = 0
    more: bool = False
    solution: bool = False
    current: bool = False

    @property
    def is_empty(self) -> bool:
        """True if nothing has happened here."""
        return not (self.reached or self.dots or self.solution or self.current)


@dataclass(frozen=True)
class Row:
    """One learner on the class map. ``step`` is the outline of the current step, if any; ``error`` a class's id.

    ``label`` is the name, which no other row has.
    """

    member: Member
    label: str
    here: bool
    step: Outline | None
    cells: tuple[Cell, ...]
    minutes: int
    tries: int
    opened: int
    error: str | None
    reasons: tuple[str, ...]
    shown: ShownRun | None

    @property
    def begun(self) -> bool:
        """True if the learner has run something."""
        return any(cell.reached or cell.dots for cell in self.cells)


@dataclass(frozen=True)
class RoomView:
    """The whole class at one moment."""

    rows: tuple[Row, ...]
    cards: tuple[Row, ...]
    hands: tuple[Row, ...]

    def of(self, seat: str) -> Row | None:
        """Return the row of a seat, or None if it is no member."""
        return next((row for row in self.rows if row.member.seat == seat), None)

    @property
    def here(self) -> int:
        """The number of learners whose page is open."""
        return sum(row.here for row in self.rows)

    @property
    def not_begun(self) -> int:
        """The number of learners who have run nothing."""
        return sum(not row.begun for row in self.rows)

    @property
    def stuck(self) -> int:
        """The number of learners who are stuck."""
        return sum(bool(row.reasons) for row in self.rows)


@dataclass(frozen=True)
class StepSums:
    """One step of the whole class. ``errors`` are error classes with the number of learners who met them.

    ``hints`` is how many learners opened each hint; its last number is for the solution.
    """

    learners: int
    reached: int
    trying: int
    errors: tuple[tuple[str, int], ...]
    minutes: int | None
    hints: tuple[int, ...]


def room_view(records: Records, steps: Sequence[Outline], now: float, titles: Mapping[str, str]) -> RoomView:
    """Return the class as it is now; ``titles`` are those of the error classes."""
    usual = {
        step.key: median_seconds(records.members, records.tallies, step.key)
        for step in steps
        if any(member.lesson == step.key for member in records.members)
    }
    shown = {each.seat: each for each in records.shown if each.until > now}
    names = labels(records.members)
    empty = tuple(Cell(step.key) for step in steps)
    rows = tuple(
        _row(member, names[member.number], records, steps, empty, usual, now, titles, shown)
        for member in records.members
    )
    cards = sorted((row for row in rows if row.reasons), key=_urgency)
    hands = sorted((row for row in rows if row.member.hand is not None), key=lambda row: row.member.hand or 0)
    return RoomView(rows, tuple(cards[:_MOST_CARDS]), tuple(hands))


def sorted_rows(rows: Sequence[Row], sort: Sort) -> list[Row]:
    """Return the rows by name, by step (those behind first), or those who are stuck first."""
    by_name = sorted(rows, key=lambda row: (row.label.casefold(), row.member.number))
    if sort == "name":
        return by_name
    if sort == "step":
        return sorted(by_name, key=lambda row: row.step.number if row.step else 0)
    return sorted(by_name, key=lambda row: (row.member.hand is None, *_urgency(row)))


def step_sums(records: Records, step: Outline) -> StepSums:
    """Return what the class did in one step."""
    found = [(member, records.tallies.get((member.seat, step.key))) for member in records.members]
    reached = [tally for _, tally in found if tally and tally.reached is not None]
    errors: Counter[str] = Counter()
    for _, tally in found:
        errors.update({error for error in tally.errors if error} if tally else ())
    opened = [records.opened.get((member.seat, step.key), 0) for member, _ in found]
    times = [tally.reached - tally.first for tally in reached if tally.first and tally.reached is not None]
    return StepSums(
        learners=len(records.members),
        reached=len(reached),
        trying=sum(tally is not None and tally.reached is None for _, tally in found),
        errors=tuple(errors.most_common()),
        minutes=max(1, round(median(times) / 60)) if times else None,
        hints=tuple(sum(number >= hint for number in opened) for hint in range(1, step.hints + 2)),
    )


def few(number: int) -> str:
    """Return a number for the wall, where small ones would point at people."""
    return "nobody yet" if number == 0 else "a few" if number < FEW else str(number)


def _urgency(row: Row) -> tuple[int, int, int]:
    return (-len(row.reasons), -row.minutes, row.member.number)


def _row(
    member: Member,
    label: str,
    records: Records,
    steps: Sequence[Outline],
    empty: Sequence[Cell],
    usual: Mapping[str, float | None],
    now: float,
    titles: Mapping[str, str],
    shown: Mapping[str, ShownRun],
) -> Row:
    step = next((each for each in steps if each.key == member.lesson), None)
    tally = records.tallies.get((member.seat, member.lesson))
    return Row(
        member=member,
        label=label,
        here=member.is_here(now),
        step=step,
        cells=tuple(_cell(member, each, records) or nothing for each, nothing in zip(steps, empty, strict=True)),
        minutes=int((now - member.since) // 60) if step else 0,
        tries=tally.missed if tally else 0,
        opened=records.opened.get((member.seat, member.lesson), 0),
        error=next(iter(tally.errors), None) if tally else None,
        reasons=reasons(member, tally, usual.get(member.lesson), now, titles),
        shown=shown.get(member.seat),
    )


def _cell(member: Member, step: Outline, records: Records) -> Cell | None:
    """Return the cell, or None if it is empty, as most are."""
    here = (member.seat, step.key)
    tally, opened, current = records.tallies.get(here), records.opened.get(here, 0), member.lesson == step.key
    if tally is None and not opened and not current:
        return None
    tally = tally or Tally()
    return Cell(
        lesson=step.key,
        reached=tally.reached is not None,
        dots=min(tally.missed, _MOST_DOTS),
        more=tally.missed > _MOST_DOTS,
        solution=opened > step.hints,
        current=current,
    )
