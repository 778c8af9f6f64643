"""No page scrolls sideways, on a small phone, zoomed to 200 %, or wide, whatever a run has brought."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from app.lessons import Lesson
from tests.browser.states import STATES, State, opened, paths
from tests.browser.test_course import browser

__all__ = ["browser"]

pytestmark = pytest.mark.usefixtures("bare_metal")

WIDTHS = (320, 360, 640, 820, 1280, 1920)
"""In CSS pixels: 640 are what 1280 are at 200 %, and 320 are that at 400 %."""
WIDE = """() => {
    const root = document.documentElement
    const out = each => each.getBoundingClientRect().right > root.clientWidth + 1 && each.checkVisibility()
    const found = {}
    for (const view of [...document.querySelectorAll("[data-views] input"), null]) {
        if (view) view.checked = true
        if (root.scrollWidth <= root.clientWidth) continue
        const names = [...document.querySelectorAll("body *")].filter(out).map(each => each.outerHTML.slice(0, 200))
        found[view?.value ?? "page"] = names.slice(0, 5)
    }
    return found
}"""
"""In each of the views of a narrow page, what stands out of it when it scrolls."""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield context.new_page()


def sideways(page: Page) -> dict[int, dict[str, list[str]]]:
    """What stands out of the page, for each width at which something does."""
    found = {}
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        if wide := page.evaluate(WIDE):
            found[width] = wide
    return found


def test_no_page_scrolls_sideways(page: Page, server: str, lessons: dict[str, Lesson]) -> None:
    for path in paths(lessons):
        page.goto(server + path)
        opened(page)
        assert sideways(page) == {}, path


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_nothing_that_a_run_brings_makes_it_scroll(page: Page, server: str, state: State) -> None:
    state(page, server)
    opened(page)
    assert sideways(page) == {}
