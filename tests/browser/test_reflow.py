"""No page scrolls sideways, on a small phone, zoomed to 200 %, or wide, whatever a run has brought."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from app.course.lessons import Lesson
from tests.browser.states import STATES, PageState, explained, opened, paths
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
def test_nothing_that_a_run_brings_makes_it_scroll(page: Page, server: str, state: PageState) -> None:
    state(page, server)
    opened(page)
    assert sideways(page) == {}


def test_what_is_explained_has_the_width_of_its_dialog(page: Page, server: str) -> None:
    explained(page, server)
    page.set_viewport_size({"width": 360, "height": 780})
    dialog = page.locator("#explain")
    assert dialog.evaluate("dialog => dialog.querySelector('pre').offsetWidth / dialog.offsetWidth") > 0.8
    dialog.evaluate("dialog => dialog.scrollTo(0, dialog.scrollHeight)")
    expect(dialog.get_by_role("button", name="Close")).to_be_in_viewport(ratio=1)


def test_a_tab_that_does_not_touch_its_text_has_an_outline(page: Page, server: str, lessons: dict[str, Lesson]) -> None:
    apart = """tab => tab.nextElementSibling.getBoundingClientRect().top - tab.getBoundingClientRect().bottom > 1
        && getComputedStyle(tab).borderBottomWidth !== '1px'"""
    for slug in (slug for slug, lesson in lessons.items() if len(lesson.files) > 2):
        page.goto(f"{server}/lessons/{slug}")
        page.locator("#view-code").evaluate("view => view.checked = true")
        for width in (360, 820, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            assert not page.locator(".tab:checked + label").evaluate(apart), (slug, width)
