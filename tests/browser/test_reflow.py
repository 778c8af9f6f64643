"""Dialogs and tabs keep their shape at any width, and a magnified page shows what a run answers.

``test_accessibility.py`` checks in each state of each page that it does not scroll sideways.
"""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from app.course.lesson import Lesson
from tests.support.browser import RUN_MS
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


ZOOM = 1.75
MAGNIFIED = {"width": int(1280 / ZOOM), "height": int(720 / ZOOM)}
"""A window of 1280 x 720 pixels at 175 % zoom."""
ERROR_IN_VIEW = """() => {
    const words = document.createTreeWalker(document.getElementById("run-terminal"), NodeFilter.SHOW_TEXT)
    for (let text = words.nextNode(); text; text = words.nextNode()) {
        const at = text.data.search(/\\berror\\b/)
        if (at < 0) continue
        const range = document.createRange()
        range.setStart(text, at)
        range.setEnd(text, at + 5)
        const { left, top, bottom } = range.getBoundingClientRect()
        const seen = document.elementFromPoint(left + 2, (top + bottom) / 2)
        return top >= 0 && bottom <= innerHeight && document.getElementById("run-terminal").contains(seen)
    }
    return null
}"""
"""Return True if the terminal's first error is in the window and nothing covers it; null if there is no error."""


@pytest.mark.parametrize("size", ["medium", "huge"])
def test_at_175_percent_the_first_error_is_in_view_after_a_run_and_the_editor_one_key_away(
    browser: Browser, server: str, size: str
) -> None:
    with browser.new_context(viewport=MAGNIFIED, device_scale_factor=ZOOM) as context:  # type: ignore[arg-type]  # a dict of ints
        context.add_init_script(
            f"localStorage.setItem('playground:settings', {json.dumps(json.dumps({'size': size}))})"
        )
        page = context.new_page()
        page.goto(f"{server}/lessons/panic-handler")
        expect(page.locator("form[data-ready]")).to_be_attached()
        editor = page.locator(".pane .cm-content").first
        for start in ("text", "button", "editor", "command") if size == "medium" else ("button",):
            page.locator(f"label[for=view-{'text' if start == 'text' else 'code'}]").click()
            page.locator("#run").evaluate("run => { run.dataset.before = '' }")
            if start == "button":
                page.locator("[data-run]").click()
            elif start == "command":
                page.locator("#command").press("Enter")
            else:
                if start == "editor":
                    editor.click()
                page.keyboard.press("Control+Enter")
            expect(page.locator("#run:not([data-before]) #run-verdict > *")).to_have_count(1, timeout=RUN_MS)
            page.wait_for_timeout(200)  # the terminal is scrolled a few pictures later
            assert page.evaluate(ERROR_IN_VIEW) is True, start
            page.keyboard.press({"editor": "ArrowRight", "command": "Shift+Tab"}.get(start, "e"))
            expect(editor).to_be_focused()
            expect(editor.locator(".cm-line").first).to_be_in_viewport()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        ratio = "getComputedStyle(document.querySelector('#run-terminal')).fontSize"
        pixels = float(page.evaluate(ratio).removesuffix("px"))
        assert pixels == pytest.approx({"medium": 0.9, "huge": 1.3}[size] * 0.91 * 16, abs=0.1)
