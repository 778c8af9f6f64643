"""Fixtures for the isolation levels of the attacks, and for their worlds.

``ATTACKS_AT=none`` runs the attacks without isolation, which shows that the checks recognize a successful attack.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from app.toolchain import Toolchain, preferred
from tests.attacks.case import ONE_LEVEL, Case
from tests.attacks.world import World
from tests.attacks.worlds import Worlds
from tests.support.environment import EVERYTHING

LEVELS = os.environ.get("ATTACKS_AT", "namespaces,landlock").split(",")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that repeat another one at a level that cannot matter."""
    if EVERYTHING:
        return
    spared = [item for item in items if isinstance(item, pytest.Function) and _is_spared(item)]
    if spared:
        config.hook.pytest_deselected(items=spared)
        items[:] = [item for item in items if item not in spared]


def _is_spared(item: pytest.Function) -> bool:
    of_this_folder = item.path.parent == Path(__file__).parent
    level = item.callspec.params.get("level") if hasattr(item, "callspec") else None
    return of_this_folder and item.originalname in ONE_LEVEL and level in LEVELS[1:]


@pytest.fixture(scope="package", params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    """The isolation level in force."""
    return str(request.param)


@pytest.fixture(scope="package")
def worlds(
    request: pytest.FixtureRequest, level: str, toolchains: tuple[Toolchain, ...], shipped: Settings
) -> Iterator[Worlds]:
    """The worlds of the level. They close after the last attack: an open one keeps runs and a watcher going."""
    toolchain = preferred(toolchains, None)
    assert toolchain
    calls = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    selected = [params["case"] for params in calls if params.get("level") == level and "case" in params]
    selected = [case for case in selected if isinstance(case, Case) and (case.safe or level != "none")]
    found = Worlds(level, lambda where: World(level, toolchain, shipped, where), selected)
    yield found
    found.close()


@pytest.fixture
def world(worlds: Worlds) -> World:
    """The usual world of the level, for attacks of more than one run."""
    return worlds.get("usual")


@pytest.fixture
def stranger(world: World) -> Iterator[httpx.Client]:
    """A client with a new seat."""
    with world.client() as client:
        client.get("/")
        yield client
