"""Hostile crates against a normal user's server, whose user a run may share."""

from dataclasses import replace

import pytest

from tests.attacks.case import Case
from tests.attacks.cases import CASES, check
from tests.attacks.worlds import Worlds

NORMAL = [replace(case, where="normal") for case in CASES if case.normal]


@pytest.mark.parametrize("case", NORMAL, ids=lambda case: case.id)
def test_the_attack_has_no_effect_on_a_normal_users_server(case: Case, level: str, worlds: Worlds) -> None:
    check(case, level, worlds)


def test_the_normal_users_server_works(worlds: Worlds) -> None:
    world = worlds.get("normal")
    assert world.folder.stat().st_uid == world.user != 0
    assert [event["status"] for event in world.honest() if event["type"] == "finished"] == ["ok"]
    assert world.neighbour()
