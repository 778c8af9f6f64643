"""Cache the rendered panels of finished runs, so that reloading a page repeatedly does not delay other learners."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from markupsafe import Markup

from app.web.render import made

_ROOM = 16 * 1024 * 1024
"""The size of the cache in bytes. It holds UTF-8, because one character can make a whole string four bytes wide."""

Slots = Mapping[str, Markup]


class _Kept(Mapping[str, Markup]):
    """Slots that are decoded when a page is rendered. Until then, concurrent requests share the same bytes."""

    def __init__(self, slots: Mapping[str, bytes]) -> None:
        self._slots = slots

    def __getitem__(self, slot: str) -> Markup:
        return made(self._slots[slot].decode())

    def __iter__(self) -> Iterator[str]:
        return iter(self._slots)

    def __len__(self) -> int:
        return len(self._slots)


class Panels:
    """An LRU cache of the panels' slots by run id. It always keeps the latest panel, whatever its size."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, dict[str, bytes]] = OrderedDict()
        self._owners: dict[str, str | None] = {}

    def get(self, run_id: str) -> Slots | None:
        """Return the slots of a run's panel, or None if they are not cached."""
        if run_id not in self._known:
            return None
        self._known.move_to_end(run_id)
        return _Kept(self._known[run_id])

    def keep(self, run_id: str, owner: str | None, slots: Slots) -> Slots:
        """Cache these slots and return them as cached; evict the least recently used panels if there are too many."""
        # A program's text may contain half a surrogate pair, which UTF-8 cannot encode.
        self._known[run_id] = {slot: html.encode("utf-8", "replace") for slot, html in slots.items()}
        self._owners[run_id] = owner
        while (
            len(self._known) > 1 and sum(len(html) for panel in self._known.values() for html in panel.values()) > _ROOM
        ):
            evicted, _ = self._known.popitem(last=False)
            del self._owners[evicted]
        return _Kept(self._known[run_id])

    def forget(self, owner: str) -> None:
        """Drop the panels of this owner's runs."""
        for run_id in [run_id for run_id, each in self._owners.items() if each == owner]:
            del self._known[run_id], self._owners[run_id]
