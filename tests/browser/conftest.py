"""Fixtures for Chromium and for a connection that can be cut."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.support.browser import find_chromium
from tests.support.environment import EVERYTHING
from tests.support.wire import Wire

collect_ignore = [] if EVERYTHING else ["test_other_browsers.py"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
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
