"""The load of a class: learners, the instructor's pages and hostile seats on a real server."""

import pytest

from app.cli.learner import Ran
from bench.classroom import MOST_MEBIBYTES, Held, Phase, address_of, measure, report
from tests.support.environment import EVERYTHING

OF_THE_MACHINE = {"mounts", "shared memory"}
"""Counts of the whole machine, on which other tests run meanwhile."""


def test_everyone_sees_each_other_beside_hostile_seats_and_nothing_is_left() -> None:
    """The short form of `make load`, which counts. Only the long form bounds seconds, on a quiet machine."""
    held = measure(4.0, 12, 2, thinks=(0.5, 2.0))
    assert not held.failures
    assert held.quiet.fewest >= 2
    assert held.beside.fewest >= 2
    assert held.mebibytes < MOST_MEBIBYTES
    assert held.left.keys() <= OF_THE_MACHINE


if EVERYTHING:

    @pytest.mark.quiet
    def test_a_hundred_learners_for_a_minute() -> None:
        held = measure(60.0, 100, 10)
        report(held, 100, 10)
        assert held.is_good


def test_each_bound_counts(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = Phase([Ran(0.1, 0.2)], [0.5], [1.0])
    beside = Phase([Ran(0.1, 0.3), Ran(0.1, 9.0, 429)], [0.6], [1.9])
    good = Held(quiet, beside, 1000, 150.0, {}, {})
    assert good.is_good
    report(good, 100, 10)
    assert "a run there 1.50 times as long of 2" in capsys.readouterr().out.splitlines()[-1]
    late = Phase([Ran(0.1, 0.2)], [2.1], [1.0])
    slow = Phase([Ran(0.1, 0.41)], [0.5], [1.0])
    for bad in (
        Held(late, beside, 1000, 150.0, {}, {}),
        Held(quiet, slow, 1000, 150.0, {}, {}),
        Held(quiet, beside, 1000, 201.0, {}, {}),
        Held(quiet, beside, 1000, 150.0, {"a run was refused: 429": 1}, {}),
        Held(quiet, beside, 1000, 150.0, {}, {"processes": "4 -> 5"}),
    ):
        assert not bad.is_good


def test_learners_have_addresses_of_their_own() -> None:
    assert len({address_of(number) for number in range(600)}) == 600
