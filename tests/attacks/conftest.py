"""The levels at which every attack is tried, and the worlds in which that happens.

``ATTACKS_AT=none`` tries them where nothing holds them, which shows that each can be told from a harmless run.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from app.toolchain import Toolchain, preferred
from tests.attacks.case import ONE_LEVEL, Case, Story
from tests.attacks.world import World
from tests.conftest import EVERYTHING, SLOWER_BY

LEVELS = os.environ.get("ATTACKS_AT", "namespaces,landlock").split(",")
_AT_ONCE = {"usual": 4, "tight": 2, "normal": 3}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what differs from another test only in a level that cannot matter."""
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


@pytest.fixture(scope="session", params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    """The isolation level in force."""
    return str(request.param)


class Worlds:
    """The worlds of one level, made when they are first needed; their selected attacks run several at once."""

    def __init__(self, level: str, make: Callable[[str], World], selected: list[Case]) -> None:
        self._level = level
        self._make = make
        self._selected = selected
        self._stack = ExitStack()
        self._worlds: dict[str, World] = {}
        self._stories: dict[str, Future[Story]] = {}

    def get(self, where: str) -> World:
        """The usual world, the tight one, or the one of a normal user's server."""
        if where not in self._worlds:
            self.close()
            world = self._stack.enter_context(self._make(where))
            self._worlds[where] = world
            skip_unless_in_force(world)
            pool = self._stack.enter_context(ThreadPoolExecutor(_AT_ONCE[where]))
            self._stack.callback(pool.shutdown, cancel_futures=True)
            for case in self._selected:
                if case.where == where:
                    self._stories[case.id] = pool.submit(world.attack, case)
        return self._worlds[where]

    def story(self, case: Case) -> tuple[World, Story]:
        """How the case went, and where."""
        world = self.get(case.where)
        return world, self._stories[case.id].result(timeout=300 * SLOWER_BY)

    def close(self) -> None:
        """Take the worlds down."""
        self._worlds.clear()
        self._stack.close()


def skip_unless_in_force(world: World) -> None:
    """Skip where the level does not work, and say so."""
    [started] = [event for event in world.honest() if event["type"] == "started"]
    if started["isolation"] != world.level:
        pytest.skip(f"the level {world.level} does not work on this machine")


@pytest.fixture(scope="session")
def worlds(
    request: pytest.FixtureRequest, level: str, toolchains: tuple[Toolchain, ...], shipped: Settings
) -> Iterator[Worlds]:
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
    """The usual world of the level, for what is more than one run."""
    return worlds.get("usual")


@pytest.fixture
def stranger(world: World) -> Iterator[httpx.Client]:
    """A client with a seat of its own, which is none of the world's."""
    with world.client() as client:
        client.get("/")
        yield client
