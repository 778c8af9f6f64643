"""The owners of runs, as the queue knows them: when they were seen, and whether their runs take long.

Pure: it reads the time from ``clock``.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal, TypeAlias

Owner: TypeAlias = str | None
Standing: TypeAlias = Literal["short", "new", "long"]
STANDINGS: tuple[Standing, ...] = ("short", "new", "long")
"""From the best to the worst."""

PRESENT_SECONDS = 300.0
"""An owner counts as present for this long after a page, a stream or a run."""
SHORT_RUNS = 3
"""Short runs in a row after which an owner with a long run counts as short again.

With fewer, owners who mix endless runs with short ones would often get a slot that should be open to others.
"""
_MOST_PRESENT = 64
_MOST_KNOWN = 10_000


class Owners:
    """Owners by their standing.

    A standing predicts the length of the owner's next run: ``new`` before the first run, ``short`` after short ones,
    ``long`` after a long one. Little is kept of each: the standing of the ``_MOST_KNOWN`` owners whose runs ended last,
    and of each standing the ``_MOST_PRESENT`` owners that were seen last, which is enough to know if there is another.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._missing: OrderedDict[Owner, int] = OrderedDict()
        """How many short runs each owner needs until its standing is ``short``."""
        self._seen: dict[Standing, OrderedDict[Owner, float]] = {each: OrderedDict() for each in STANDINGS}

    def standing(self, owner: Owner) -> Standing:
        """Return the owner's standing."""
        missing = self._missing.get(owner)
        if missing is None:
            return "new"
        return "long" if missing else "short"

    def note_presence(self, owner: Owner) -> None:
        """Note that the owner is present."""
        self._see(owner, self._clock())

    def note_run(self, owner: Owner, *, long: bool) -> None:
        """Note a short run that has ended, or a long one, ended or not."""
        at = self._seen[self.standing(owner)].pop(owner, None)
        self._missing[owner] = SHORT_RUNS if long else max(0, self._missing.get(owner, 1) - 1)
        self._missing.move_to_end(owner)
        if len(self._missing) > _MOST_KNOWN:
            self._missing.popitem(last=False)
        if at is not None:
            self._see(owner, at)

    def are_others_present(self, owner: Owner) -> bool:
        """Return True if an owner other than this one is present."""
        since = self._clock() - PRESENT_SECONDS
        return any(
            other != owner and at > since for seen in self._seen.values() for other, at in reversed(seen.items())
        )

    def is_present(self, *standings: Standing) -> bool:
        """Return True if an owner with one of these standings is present."""
        since = self._clock() - PRESENT_SECONDS
        return any(at > since for standing in standings for at in reversed(self._seen[standing].values()))

    def _see(self, owner: Owner, at: float) -> None:
        seen = self._seen[self.standing(owner)]
        seen[owner] = at
        seen.move_to_end(owner)
        if len(seen) > _MOST_PRESENT:
            seen.popitem(last=False)
