"""A plugin of pytest: it shares the tests out among the processes of `make test`, and fails in CI if one is skipped.

pytest-xdist starts the processes. Each gets one unit of tests at a time, which keeps the unit's fixtures. A unit is a
file; attacks at the same isolation level are one unit, because they share servers with targets around them. Tests with
the marker ``quiet`` are a unit of their own, the last one, and run while no other test does.
"""

import fcntl
import os
import re
import tempfile
from collections.abc import Container, Generator, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pytest
from xdist.scheduler import LoadScopeScheduling

QUIET = "quiet"
"""The marker of tests that measure the machine, and the name of their unit."""

_ALONE = "tests/attacks/test_usage.py"
"""Attacks that use the machine up. They measure it, so they are a unit of their own at all levels."""
_AT_LEVEL = re.compile(r"tests/attacks/[^\[]+\[(namespaces|landlock|none)\b")
FIRST = (
    _ALONE,  # measures the machine's disk, so nothing beside it may write gigabytes
    "attacks at namespaces",
    "tests/test_container.py",
    "attacks at ",
    "tests/browser/test_workspace.py",
    "tests/browser/test_whole_course.py",
    "tests/browser/test_accessibility.py",
    "tests/browser/",
    "tests/attacks/",
    "tests/test_toolchain",
    "tests/test_openapi.py",
    "tests/test_proxy.py",
    "tests/test_wheel.py",
    "tests/test_engine",
)
"""The units that take longest, by the beginnings of their names. They come first, so that none is left for the end."""
_NORMAL = "tests/attacks/test_normal.py"

_skipped: list[str] = []
_locks = pytest.StashKey[str]()


class Node(Protocol):
    """A process to be started, as pytest-xdist describes it to its hooks."""

    config: pytest.Config
    workerinput: dict[str, Any]


def shared_by(config: pytest.Config) -> dict[str, Any]:
    """Return what the first process has told this one, which runs some of its tests; empty in the first process."""
    return dict(getattr(config, "workerinput", {}))


def unit(nodeid: str, quiet: Container[str]) -> str:
    """Return the name of the unit that a test belongs to."""
    if nodeid in quiet:
        return QUIET
    file = nodeid.partition("::")[0]
    level = None if file == _ALONE else _AT_LEVEL.match(nodeid)
    return f"attacks at {level[1]}" if level else file


def order(item: pytest.Item) -> tuple[bool, int, bool]:
    """Return the sort key of a test: units of long tests come first, quiet ones last.

    Attacks on a normal user's server come first in their unit: two kinds of servers, one after the other.
    """
    name = unit(item.nodeid, ())
    place = next((number for number, start in enumerate(FIRST) if name.startswith(start)), len(FIRST))
    return is_quiet(item), place, not item.nodeid.startswith(_NORMAL)


def is_quiet(item: pytest.Item) -> bool:
    """Return True if no other test may run at the same time."""
    return item.get_closest_marker(QUIET) is not None


class UnitScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hand out the units in the order of the tests."""

    def __init__(self, config: pytest.Config, log: object) -> None:
        super().__init__(config, log)
        self._list = Path(config.stash[_locks], QUIET)
        config.option.loadscopereorder = False  # by their numbers of tests, which say little about their length

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid, self._quiet)

    @cached_property
    def _quiet(self) -> frozenset[str]:
        """The quiet tests, which the processes have listed before the first is asked for."""
        return frozenset(self._list.read_text(encoding="utf-8").split("\n"))


class Turns:
    """Locks between the processes: a quiet test has the machine to itself."""

    def __init__(self, folder: Path) -> None:
        # A quiet test that waits for the others keeps the gate, so that none of them begins another test.
        self._gate, self._room = ((folder / name).open("w") for name in ("gate", "room"))

    @contextmanager
    def turn(self, *, alone: bool) -> Iterator[None]:
        """Wait until the test may run, and keep the others out if it runs alone."""
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(self._gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._room, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the files of the locks."""
        self._gate.close()
        self._room.close()


_turns = pytest.StashKey[Turns]()


def pytest_configure(config: pytest.Config) -> None:
    if shared := shared_by(config):
        turns = config.stash[_turns] = Turns(Path(shared["locks"]))
        config.add_cleanup(turns.close)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return one process more than there are processors: a third of the time, a test waits for a timer or a disk."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Node) -> None:
    """Tell a new process where the locks are."""
    config = node.config
    if _locks not in config.stash:
        folder = tempfile.TemporaryDirectory(prefix="playground-locks-")
        config.add_cleanup(folder.cleanup)
        config.stash[_locks] = folder.name
    node.workerinput["locks"] = config.stash[_locks]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if shared := shared_by(config):
        items.sort(key=order)
        # Only the processes know the markers; the first one hands out tests by their names.
        quiet = [item.nodeid for item in items if is_quiet(item)]
        Path(shared["locks"], QUIET).write_text("\n".join(quiet), encoding="utf-8")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> UnitScheduling:
    return UnitScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    turns = item.config.stash.get(_turns, None)
    if turns is None:
        return (yield)
    with turns.turn(alone=is_quiet(item)):
        return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped:
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail in CI if a test was skipped: CI installs everything that tests need."""
    if os.environ.get("CI") and _skipped and not shared_by(session.config):
        print(f"\nSkipped in CI, which is not allowed: {', '.join(_skipped)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
