"""Share a limited number of places fairly: connections, event streams, downloads.

As long as there is room, one address may have all places. At the limit, an address that asks displaces the address with
the most, up to its share; within an address, the seat with the most gives way. Idle holders give way before busy ones.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

_OWNERS_OWN = 0.1
"""The share of all places that an owner keeps against others behind its own address."""


class Holder(Protocol):
    """A holder of a place, or one that asks for a place."""

    @property
    def address(self) -> str:
        """The address for which it is counted."""

    @property
    def owner(self) -> str:
        """The seat behind that address, or another string for those without a seat."""

    @property
    def idle(self) -> bool:
        """True if nothing is lost when it gives way."""

    def give_way(self) -> None:
        """End it, because another holder takes its place."""


_Holder = TypeVar("_Holder", bound=Holder)


class Shares(Generic[_Holder]):
    """The places in use. ``share``: the part of them that an address may gain by displacing others."""

    def __init__(self, most: int, share: float) -> None:
        self._most = most
        self._share = share
        self._holders: dict[_Holder, None] = {}  # in the order in which they became idle or busy

    def __len__(self) -> int:
        return len(self._holders)

    def take(self, asking: _Holder) -> bool:
        """Give a place, taken from another holder if none is free; return False if no holder has to give way."""
        if len(self._holders) >= self._most:
            victim = self._victim(asking)
            if victim is None:
                return False
            self.release(victim)
            victim.give_way()
        self._holders[asking] = None
        return True

    def release(self, holder: _Holder) -> None:
        """Take the place back, if the holder still has it."""
        self._holders.pop(holder, None)

    def changed(self, holder: _Holder) -> None:
        """Record that the holder has become idle or busy."""
        if holder in self._holders:
            del self._holders[holder]
            self._holders[holder] = None

    def _victim(self, asking: _Holder) -> _Holder | None:
        counts = Counter(each.address for each in self._holders)
        [(heaviest, most)] = counts.most_common(1)
        idle = [each for each in self._holders if each.idle]
        if idle:
            return next((each for each in idle if each.address == heaviest), idle[0])
        wanted = counts[asking.address] + 1
        if wanted < most and wanted <= self._share * self._most:
            return _oldest(each for each in self._holders if each.address == heaviest)
        return self._neighbour(asking)

    def _neighbour(self, asking: _Holder) -> _Holder | None:
        """Return the oldest holder of the same address's heaviest seat, if that seat has more than the asking one."""
        near = [each for each in self._holders if each.address == asking.address]
        counts = Counter(each.owner for each in near)
        found = _oldest(near)
        if found is None or counts[found.owner] <= max(counts[asking.owner] + 1, _OWNERS_OWN * self._most):
            return None
        return found


def _oldest(holders: Iterable[_Holder]) -> _Holder | None:
    """Return the oldest of these holders that belongs to the owner with the most of them."""
    found = list(holders)
    counts = Counter(each.owner for each in found)
    return max(found, key=lambda each: counts[each.owner], default=None)  # of equals, the first
