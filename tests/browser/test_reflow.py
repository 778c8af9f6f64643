"""No page scrolls sideways on a phone, at 200 % zoom, or on a wide screen, after any kind of run."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from app.course.lesson import Lesson
from tests.support.states import STATES, PageState, explained, opened, paths

pytestmark = pytest.mark.usefixtures("bare_metal")

WIDTHS = (320, 360, 640, 820, 1280, 1920)
"""Widths in CSS pixels. 1280 pixels at 200 % zoom are 640, at 400 % they are 320."""
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
"""Collect the elements that overflow each view of a narrow page."""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield context.new_page()


def sideways(page: Page) -> dict[int, dict[str, list[str]]]:
    """Return the elements that overflow the page, by width."""
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
