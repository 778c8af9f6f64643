"""Hostile crates that exceed their share, in a world with small limits."""

import re

import pytest

from tests.attacks.case import Case
from tests.attacks.cases import CASES, check, well_ended
from tests.attacks.worlds import Worlds


@pytest.mark.parametrize("case", [case for case in CASES if case.where == "tight"], ids=lambda case: case.id)
def test_the_machine_is_not_used_up(case: Case, level: str, worlds: Worlds) -> None:
    check(case, level, worlds)


def test_honest_runs_went_well_all_the_while(level: str, worlds: Worlds) -> None:
    world = worlds.get("tight")
    assert [event["status"] for event in world.honest() if event["type"] == "finished"] == ["ok"]
    assert not [status for _, _, status in world.bystanders if not re.match(well_ended(level), status)]
