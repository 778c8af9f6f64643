"""axe-core reports no violation on any page, in light, dark and forced colours, before and after a run."""

from collections.abc import Iterator
from typing import Literal

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page

from app.course.lesson import Lesson
from tests.support.states import STATES, PageState, opened, paths

pytestmark = pytest.mark.usefixtures("bare_metal")

Mode = Literal["light", "dark", "forced"]
MODES: tuple[Mode, ...] = ("light", "dark", "forced")
EVERYTHING = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOURS = ["color-contrast", "link-in-text-block"]
"""The rules that depend on colours; the others give the same result in every mode."""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield context.new_page()


def complaints(page: Page, rules: list[str]) -> list[str]:
    options = {"runOnly": rules, "resultTypes": ["violations"], "preload": False}
    found = page.evaluate("async options => (await axe.run(options)).violations", options)
    return [f"{one['id']}: {node['target']} {node['failureSummary']}" for one in found for node in one["nodes"]]


def look(page: Page, mode: Mode) -> None:
    page.emulate_media(
        color_scheme="dark" if mode == "dark" else "light",
        forced_colors="active" if mode == "forced" else "none",
        reduced_motion="reduce",
    )


def examined(page: Page) -> list[str]:
    """Return axe's violations for the page in every mode."""
    opened(page)
    page.evaluate(AXE_SCRIPT)
    found = []
    for mode in MODES:
        look(page, mode)
        found += [f"{mode}: {text}" for text in complaints(page, EVERYTHING if mode == "light" else COLOURS)]
    look(page, "light")
    return found


def test_axe_finds_what_is_wrong(page: Page, server: str) -> None:
    page.goto(server)
    bad = '<img src="/static/favicon.svg"><p id="pale">Too pale to be read.</p>'
    page.evaluate("bad => document.querySelector('main').insertAdjacentHTML('beforeend', bad)", bad)
    page.evaluate("document.querySelector('#pale').style.color = '#eee'")
    found = examined(page)
    assert any(text.startswith("light: image-alt") for text in found)
    assert any(text.startswith("light: color-contrast: ['#pale']") for text in found)


def test_axe_finds_nothing_on_any_page(page: Page, server: str, lessons: dict[str, Lesson]) -> None:
    found = {}
    for path in paths(lessons):
        page.goto(server + path)
        found[path] = examined(page)
    assert not any(found.values()), found


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_axe_finds_nothing_in_any_state_of_a_lesson(page: Page, server: str, state: PageState) -> None:
    state(page, server)
    assert examined(page) == []
