"""``docs/security.md`` has one row for each attack: its id, what it tries, what holds it."""

import re
from pathlib import Path

from tests.attacks import test_bodies, test_fairness, test_markup, test_requests, test_streams
from tests.attacks.case import WEB
from tests.attacks.cases import CASES

_PAGE = Path(__file__).parents[2] / "docs/security.md"


def test_the_table_and_the_attacks_agree() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (.+?) \| (.+?) \|$", _PAGE.read_text(), re.MULTILINE)
    assert {test_bodies, test_fairness, test_markup, test_requests, test_streams}
    attacks = {case.id: case.tries for case in CASES} | WEB
    assert {name: tries for name, tries, _ in rows} == attacks
    assert len(rows) == len(attacks) == len(CASES) + len(WEB)
    assert all(holds.strip() for _, _, holds in rows)


def test_there_are_enough_of_them() -> None:
    assert len(CASES) + len(WEB) >= 60
