"""The worlds of one isolation level, and the attacks that run in them."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from app.sandbox import may_give
from tests.attacks.case import Case, Story
from tests.attacks.world import World
from tests.support.environment import SLOWER_BY

_AT_ONCE = {"usual": 4, "tight": 2, "normal": 3}


def shares_user(level: str) -> bool:
    """Return True if runs have the server's own user."""
    return level == "landlock" and not may_give()


class Worlds:
    """The worlds of one level, created on first use; several of their attacks run at once."""

    def __init__(self, level: str, make: Callable[[str], World], selected: list[Case]) -> None:
        self._level = level
        self._make = make
        self._selected = selected
        self._stack = ExitStack()
        self._worlds: dict[str, World] = {}
        self._stories: dict[str, Future[Story]] = {}

    def get(self, where: str) -> World:
        """Return the usual world, the tight one, or that of a normal user's server."""
        if where not in self._worlds:
            self.close()
            world = self._stack.enter_context(self._make(where))
            self._worlds[where] = world
            skip_unless_in_force(world)
            # An attack beside a fork bomb of the same user may not even begin, as docs/security.md says of any run.
            at_once = 1 if where == "tight" and shares_user(self._level) else _AT_ONCE[where]
            pool = self._stack.enter_context(ThreadPoolExecutor(at_once))
            self._stack.callback(pool.shutdown, cancel_futures=True)
            self._pool = pool
        return self._worlds[where]

    def story(self, case: Case) -> tuple[World, Story]:
        """Return the world and the story of a case."""
        world = self.get(case.where)
        if case.id not in self._stories:
            # Not earlier: a process that runs only other tests of this world must not run the attacks as well.
            for other in self._selected:
                if other.where == case.where:
                    self._stories[other.id] = self._pool.submit(world.attack, other)
        return world, self._stories[case.id].result(timeout=300 * SLOWER_BY)

    def close(self) -> None:
        """Close the worlds."""
        self._worlds.clear()
        self._stories.clear()
        self._stack.close()


def skip_unless_in_force(world: World) -> None:
    """Skip the test if the level does not work on this machine."""
    [started] = [event for event in world.honest() if event["type"] == "started"]
    if started["isolation"] != world.level:
        pytest.skip(f"the level {world.level} does not work on this machine")
