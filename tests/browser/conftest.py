"""Fixtures for Chromium and for a connection that can be cut."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from app.engine.inventory import LocalSetup
from tests.support.browser import find_chromium
from tests.support.environment import EVERYTHING
from tests.support.wire import Wire

collect_ignore = [] if EVERYTHING else ["test_other_browsers.py"]


@pytest.fixture(scope="package")
def browser(found: LocalSetup) -> Iterator[Browser]:  # noqa: ARG001 - as the docstring says
    """Chromium, for as long as tests of this folder follow one another.

    Playwright's event loop runs in this thread until the end. ``found`` needs a loop of its own, so it comes first.
    """
    chromium = find_chromium()
    if not chromium:
        pytest.skip("no chromium here; apt-get install chromium-headless-shell")
    with sync_playwright() as playwright:
        # As root, the user of most containers, Chromium does not start with its sandbox.
        started = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield started
        started.close()


@pytest.fixture
def wire(server: str) -> Iterator[Wire]:
    made = Wire(server)
    yield made
    made.close()
