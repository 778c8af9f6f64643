"""Shares of places: which holder gives way to which."""

from dataclasses import dataclass, field

import pytest

from app.web.guard.shares import Shares


@dataclass(eq=False)
class Place:
    """A holder that records when it gave way."""

    address: str
    owner: str = "?"
    idle: bool = False
    ended: list["Place"] = field(default_factory=list)

    def give_way(self) -> None:
        self.ended.append(self)


def taken(most: int, *places: Place, share: float = 0.5) -> Shares[Place]:
    shares: Shares[Place] = Shares(most, share)
    assert all(shares.take(place) for place in places)
    return shares


def reached(shares: Shares[Place], address: str, owner: str = "?") -> int:
    """Return the number of places that an address gets by asking repeatedly."""
    found = 0
    while found < 100 and shares.take(Place(address, owner)):
        found += 1
    return found


def test_an_address_alone_has_all_places() -> None:
    assert reached(taken(10), "a", "x") == 10


@pytest.mark.parametrize(("share", "expected"), [(0.5, 5), (0.2, 2), (1.0, 5)])
def test_an_address_that_asks_reaches_its_share(share: float, expected: int) -> None:
    places = [Place("a", "x") for _ in range(10)]
    shares = taken(10, *places, share=share)
    assert reached(shares, "b") == expected
    assert [place for place in places if place.ended] == places[:expected], "the oldest give way"
    assert not shares.take(Place("a", "x"))
    assert len(shares) == 10


def test_a_third_address_gets_its_part_as_well() -> None:
    shares = taken(12, *(Place("a") for _ in range(6)), *(Place("b") for _ in range(6)))
    assert reached(shares, "c") == 4


def test_what_is_idle_gives_way_first_the_longest_of_the_largest_address() -> None:
    busy, old, idle = Place("a"), Place("b", idle=True), [Place("a", idle=True) for _ in range(3)]
    shares = taken(5, old, busy, *idle)
    shares.changed(idle[0])
    for _ in range(3):
        assert shares.take(Place("c"))
    assert [bool(place.ended) for place in (*idle, old, busy)] == [True, True, True, False, False]
    assert shares.take(Place("a"))
    assert old.ended


def test_at_one_address_the_seat_with_the_most_places_gives_way() -> None:
    hog, others = [Place("a", "hog") for _ in range(15)], [Place("a", f"seat {number}") for number in range(5)]
    shares = taken(20, *others, *hog)
    assert reached(shares, "a", "late") == 7, "as many as the hog has left, and no more"
    assert not any(place.ended for place in others)


def test_a_seat_keeps_a_tenth_of_all_places() -> None:
    shares = taken(20, *(Place("a", f"seat {number // 2}") for number in range(20)))
    assert reached(shares, "a", "late") == 0


def test_no_place_is_released_twice() -> None:
    place = Place("a")
    shares = taken(1, place)
    assert shares.take(Place("b")) is False
    shares.release(place)
    shares.release(place)
    shares.changed(place)
    assert len(shares) == 0
