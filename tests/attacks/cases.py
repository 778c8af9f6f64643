"""All hostile crates."""

import re

import pytest

from tests.attacks import artifacts, crates, kernel, network, others, processes, reads, resources, writes
from tests.attacks.case import Case
from tests.attacks.worlds import Worlds, shares_user
from tests.support.environment import SLOWER_BY

CASES: tuple[Case, ...] = (
    *reads.CASES,
    *writes.CASES,
    *network.CASES,
    *processes.CASES,
    *kernel.CASES,
    *others.CASES,
    *crates.CASES,
    *artifacts.CASES,
    *resources.CASES,
)


def well_ended(level: str) -> str:
    """Return the pattern of how an honest run may end beside an attack.

    With the server's own user, a run may fail beside a fork bomb, as docs/security.md says.
    """
    return "ok|failed" if shares_user(level) else "ok"


def check(case: Case, level: str, worlds: Worlds) -> None:
    """Check that the attack began, that it had no effect, and that honest runs beside it succeeded."""
    if level == "none" and not case.safe:
        pytest.skip("it would harm the machine where nothing holds it")
    if case.attributes and shares_user(level):
        pytest.skip("not defended, as docs/security.md says: a server without root shares its user with its runs")
    world, story = worlds.story(case)
    print(f"{story.seconds:.1f} s, {story.finished}\n{story.text[-3000:]}")
    if case.begun:
        assert "begun" in story.text, "the attack did not begin"
    case.held(world, story)
    well = re.compile(rf"({well_ended(level)}) in (\d+) s")
    assert [one for one in story.bystanders if not (ok := well.match(one)) or int(ok[2]) > 7 * SLOWER_BY] == []
