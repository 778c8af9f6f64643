"""``docs/security.md`` has one row for each attack: its id, its goal and its defence."""

import re
from importlib import import_module
from pathlib import Path

from tests.attacks.case import WEB
from tests.attacks.cases import CASES

_PAGE = Path(__file__).parents[2] / "docs/security.md"


def test_the_table_and_the_attacks_agree() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (.+?) \| (.+?) \|$", _PAGE.read_text(), re.MULTILINE)
    for path in Path(__file__).parent.glob("test_*.py"):
        import_module(f"{__package__}.{path.stem}")  # registers the attacks of the web
    attacks = {case.id: case.tries for case in CASES} | WEB
    assert {name: tries for name, tries, _ in rows} == attacks
    assert len(rows) == len(attacks) == len(CASES) + len(WEB)
    assert all(holds.strip() for _, _, holds in rows)


def test_there_are_enough_of_them() -> None:
    assert len(CASES) + len(WEB) >= 60
