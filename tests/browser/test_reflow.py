"""Dialogs and tabs keep their shape at any width.

``test_accessibility.py`` checks in each state of each page that it does not scroll sideways.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from app.course.lesson import Lesson
from tests.support.states import explained

pytestmark = pytest.mark.usefixtures("bare_metal")


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield context.new_page()


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
