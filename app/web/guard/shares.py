"""Fair shares of places of which there are only so many: connections, event streams, downloads.

An address alone may have all places. At the limit, an address that asks displaces the one with the most, up to its
share; within an address, the seat with the most gives way. What is idle goes before what is in use.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

_OWNERS_OWN = 0.1
"""The part of all places up to which an owner loses none to others behind its own address."""


class Holder(Protocol):
    """Something that has, or asks for, a place."""

    @property
    def address(self) -> str:
        """The address that it is counted for."""

    @property
    def owner(self) -> str:
        """The seat behind that address, or another word for those that have none."""

    @property
    def idle(self) -> bool:
        """Return True if nothing is lost when it gives way."""

    def give_way(self) -> None:
        """End it: another has its place."""


_Holder = TypeVar("_Holder", bound=Holder)


class Shares(Generic[_Holder]):
    """The places in use; ``share``: the part of them that an address may reach by displacing others."""

    def __init__(self, most: int, share: float) -> None:
        self._most = most
        self._share = share
        self._held: dict[_Holder, None] = {}  # in the order in which they became idle or busy

    def __len__(self) -> int:
        return len(self._held)

    def take(self, asking: _Holder) -> bool:
        """Give a place, of another's where there is no free one; False when nobody has to give way."""
        if len(self._held) >= self._most:
            victim = self._victim(asking)
            if victim is None:
                return False
            self.release(victim)
            victim.give_way()
        self._held[asking] = None
        return True

    def release(self, holder: _Holder) -> None:
        """Take the place back; nothing happens when it is gone already."""
        self._held.pop(holder, None)

    def changed(self, holder: _Holder) -> None:
        """Note that the holder has become idle or busy."""
        if holder in self._held:
            del self._held[holder]
            self._held[holder] = None

    def _victim(self, asking: _Holder) -> _Holder | None:
        counts = Counter(each.address for each in self._held)
        [(heaviest, most)] = counts.most_common(1)
        idle = [each for each in self._held if each.idle]
        if idle:
            return next((each for each in idle if each.address == heaviest), idle[0])
        wanted = counts[asking.address] + 1
        if wanted < most and wanted <= self._share * self._most:
            return _oldest(each for each in self._held if each.address == heaviest)
        return self._neighbour(asking)

    def _neighbour(self, asking: _Holder) -> _Holder | None:
        """The oldest of the seat with the most behind the same address, if that is more than its own."""
        near = [each for each in self._held if each.address == asking.address]
        counts = Counter(each.owner for each in near)
        found = _oldest(near)
        if found is None or counts[found.owner] <= max(counts[asking.owner] + 1, _OWNERS_OWN * self._most):
            return None
        return found


def _oldest(holders: Iterable[_Holder]) -> _Holder | None:
    """The oldest of the owner that has the most of these."""
    found = list(holders)
    counts = Counter(each.owner for each in found)
    return max(found, key=lambda each: counts[each.owner], default=None)  # the first of those that are equal
