"""Every hostile crate that needs little, run for real at each level, and told by what it did."""

import pytest

from tests.attacks.case import Case
from tests.attacks.cases import CASES, check
from tests.attacks.world import World
from tests.attacks.worlds import Worlds


@pytest.mark.parametrize("case", [case for case in CASES if case.where == "usual"], ids=lambda case: case.id)
def test_the_attack_has_no_effect(case: Case, level: str, worlds: Worlds) -> None:
    check(case, level, worlds)


def test_an_honest_run_is_fine_after_all_that(world: World) -> None:
    assert [event["status"] for event in world.honest() if event["type"] == "finished"] == ["ok"]
    assert world.neighbour()
