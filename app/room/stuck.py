"""Decide who is stuck, and say why in words.

An error is often the goal of a step, so only runs that missed the goal count, and never runs that failed.
"""

from collections.abc import Iterable, Mapping
from statistics import median

from app.room.model import Member, Tally

_SAME_ERRORS = 3
_SILENCE = 5 * 60.0
_FEWEST_TIMES = 3
"""The median of fewer learners says little."""
_SHORTEST = 2 * 60.0
"""A step that the others reached in seconds makes nobody stuck after twice as many."""


def median_seconds(members: Iterable[Member], tallies: Mapping[tuple[str, str], Tally], lesson: str) -> float | None:
    """Return the median time from the first run to the goal of those who reached it; None if they are few."""
    found = (tallies.get((member.seat, lesson)) for member in members)
    # What was reached before the class has no run in it.
    times = [tally.reached - tally.first for tally in found if tally and tally.first and tally.reached is not None]
    return median(times) if len(times) >= _FEWEST_TIMES else None


def reasons(
    member: Member, tally: Tally | None, usual: float | None, now: float, titles: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the reasons why a member is stuck in the step it is at; none if it is not.

    ``usual`` is the median time of the class in this step. ``titles`` are those of the error classes.
    """
    if not member.lesson or not member.is_here(now) or (tally and tally.reached is not None):
        return ()
    found = [_same_error(tally, titles), _twice_as_long(member, tally, usual, now), _silent(member, tally, now)]
    return tuple(reason for reason in found if reason)


def _same_error(tally: Tally | None, titles: Mapping[str, str]) -> str | None:
    latest = tally.errors[:_SAME_ERRORS] if tally else ()
    if len(latest) < _SAME_ERRORS or latest[0] is None or len(set(latest)) > 1:
        return None
    return f"the last {_SAME_ERRORS} runs had the same error: {titles.get(latest[0], latest[0])}"


def _twice_as_long(member: Member, tally: Tally | None, usual: float | None, now: float) -> str | None:
    spent = now - member.since
    if usual is None or not tally or spent < max(2 * usual, _SHORTEST):
        return None
    return f"{minutes(spent)} here; the class's usual is {minutes(usual)}"


def _silent(member: Member, tally: Tally | None, now: float) -> str | None:
    silence = now - max(member.since, tally.last if tally else 0.0)
    return f"nothing run for {minutes(silence)}" if silence >= _SILENCE else None


def minutes(seconds: float) -> str:
    """Return a time in whole minutes, for people."""
    number = max(1, int(seconds // 60))
    return f"{number} minute{'s' if number > 1 else ''}"
