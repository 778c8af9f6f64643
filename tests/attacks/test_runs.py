"""Hostile crates with small needs, run at each level and judged by their effects."""

import pytest

from tests.attacks.case import Case
from tests.attacks.cases import CASES, check
from tests.attacks.world import World
from tests.attacks.worlds import Worlds


@pytest.mark.parametrize("case", [case for case in CASES if case.where == "usual"], ids=lambda case: case.id)
def test_the_attack_has_no_effect(case: Case, level: str, worlds: Worlds) -> None:
    check(case, level, worlds)


def test_an_honest_run_succeeds_after_every_attack(world: World) -> None:
    assert [event["status"] for event in world.honest() if event["type"] == "finished"] == ["ok"]
    assert world.neighbour()
