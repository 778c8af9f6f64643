"""Finished runs as they were drawn, so that a page that is loaded again and again costs nobody else their turn."""

import sys
from collections import OrderedDict
from collections.abc import Mapping

from markupsafe import Markup

_ROOM = 32 * 1024 * 1024
"""Bytes kept at most: one letter can make all others of a text four bytes wide."""

Slots = Mapping[str, Markup]


class Panels:
    """The slots of the panels that were asked for last, by the runs' ids."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Slots] = OrderedDict()

    def get(self, run_id: str) -> Slots | None:
        """The slots of a run's panel, if they are kept."""
        if run_id in self._known:
            self._known.move_to_end(run_id)
        return self._known.get(run_id)

    def keep(self, run_id: str, slots: Slots) -> None:
        """Keep these slots, and let go of those that nobody has asked for the longest, when they are too much."""
        self._known[run_id] = slots
        while sum(sys.getsizeof(html) for known in self._known.values() for html in known.values()) > _ROOM:
            self._known.popitem(last=False)

    def clear(self) -> None:
        """Let go of all of them: one of them is of somebody who wants to be forgotten."""
        self._known.clear()
