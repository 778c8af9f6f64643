"""All hostile crates."""

import re

import pytest

from app.sandbox import may_give
from tests.attacks import artifacts, crates, kernel, network, others, processes, reads, resources, writes
from tests.attacks.case import Case
from tests.attacks.worlds import Worlds
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


def check(case: Case, level: str, worlds: Worlds) -> None:
    """Check that the attack began, that it had no effect, and that honest runs beside it succeeded."""
    if level == "none" and not case.safe:
        pytest.skip("it would harm the machine where nothing holds it")
    if case.attributes and level == "landlock" and not may_give():
        pytest.skip("not defended, as docs/security.md says: a server without root shares its user with its runs")
    world, story = worlds.story(case)
    print(f"{story.seconds:.1f} s, {story.finished}\n{story.text[-3000:]}")
    if case.begun:
        assert "begun" in story.text, "the attack did not begin"
    case.held(world, story)
    well = re.compile(r"ok in (\d+) s")
    assert [one for one in story.bystanders if not (ok := well.match(one)) or int(ok[1]) > 7 * SLOWER_BY] == []
