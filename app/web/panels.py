"""Finished runs as they were drawn, so that a page that is loaded again and again costs nobody else their turn."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from markupsafe import Markup

from app.web.render import made

_ROOM = 16 * 1024 * 1024
"""Bytes kept at most, as UTF-8: in a string one letter can make all others four bytes wide."""

Slots = Mapping[str, Markup]


class _Kept(Mapping[str, Markup]):
    """Slots that become text when a page is made of them: until then, many requests hold the same bytes."""

    def __init__(self, slots: Mapping[str, bytes]) -> None:
        self._slots = slots

    def __getitem__(self, slot: str) -> Markup:
        return made(self._slots[slot].decode())

    def __iter__(self) -> Iterator[str]:
        return iter(self._slots)

    def __len__(self) -> int:
        return len(self._slots)


class Panels:
    """The slots of the panels that were asked for last, by the runs' ids; of the last one whatever its size."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, dict[str, bytes]] = OrderedDict()
        self._owners: dict[str, str | None] = {}

    def get(self, run_id: str) -> Slots | None:
        """The slots of a run's panel, if they are kept."""
        if run_id not in self._known:
            return None
        self._known.move_to_end(run_id)
        return _Kept(self._known[run_id])

    def keep(self, run_id: str, owner: str | None, slots: Slots) -> Slots:
        """Keep these slots and return them as kept; those asked for longest ago go when there is too much."""
        # A program's text may hold half a surrogate pair, which is no UTF-8.
        self._known[run_id] = {slot: html.encode("utf-8", "replace") for slot, html in slots.items()}
        self._owners[run_id] = owner
        while len(self._known) > 1 and sum(map(_size, self._known.values())) > _ROOM:
            gone, _ = self._known.popitem(last=False)
            del self._owners[gone]
        return _Kept(self._known[run_id])

    def forget(self, owner: str) -> None:
        """Let go of the panels of this owner's runs."""
        for run_id in [run_id for run_id, each in self._owners.items() if each == owner]:
            del self._known[run_id], self._owners[run_id]


def _size(slots: Mapping[str, bytes]) -> int:
    return sum(map(len, slots.values()))
