"""The crates that matter where the server is a normal user, and a run may share that user."""

from dataclasses import replace

import pytest

from tests.attacks.case import Case
from tests.attacks.cases import CASES, check
from tests.attacks.worlds import Worlds

NORMAL = [replace(case, where="normal") for case in CASES if case.normal]


@pytest.mark.parametrize("case", NORMAL, ids=lambda case: case.id)
def test_the_attack_has_no_effect_on_a_normal_users_server(case: Case, level: str, worlds: Worlds) -> None:
    check(case, level, worlds)


def test_that_server_is_a_normal_users_and_well(worlds: Worlds) -> None:
    world = worlds.get("normal")
    assert world.folder.stat().st_uid == world.user != 0
    assert [event["status"] for event in world.honest() if event["type"] == "finished"] == ["ok"]
    assert world.neighbour()
