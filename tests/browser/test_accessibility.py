"""No page has a violation or scrolls sideways, before and after a run.

axe-core looks at light, dark and forced colours, and the widths are those of a phone, of 200 % zoom and of a wide
screen. Each state of a page is set up once for both.
"""

from collections.abc import Iterator
from typing import Literal

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page

from app.course.lessons import Lesson
from tests.support.environment import EVERYTHING
from tests.support.layout import sideways
from tests.support.states import LONELY, STATES, PageState, opened, paths

pytestmark = pytest.mark.usefixtures("bare_metal")

Mode = Literal["light", "dark", "forced"]
MODES: tuple[Mode, ...] = ("light", "dark", "forced")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
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


def examined(page: Page, modes: tuple[Mode, ...] = MODES) -> list[str]:
    """Return axe's violations for the page in these modes."""
    opened(page)
    page.evaluate(AXE_SCRIPT)
    found = []
    for mode in modes:
        look(page, mode)
        found += [f"{mode}: {text}" for text in complaints(page, RULES if mode == "light" else COLOURS)]
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


def test_axe_finds_nothing_on_any_page_and_none_scrolls_sideways(
    page: Page, server: str, lessons: dict[str, Lesson]
) -> None:
    """All modes on each page that is no lesson and on every fourth lesson; `make test-all` takes all on each page."""
    found, wide = {}, {}
    for number, path in enumerate(paths(lessons)):
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(server + path)
        found[path] = examined(page, MODES if EVERYTHING or path in LONELY or number % 4 == 0 else ("light",))
        wide[path] = sideways(page)
    assert not any(found.values()), found
    assert not any(wide.values()), wide


@pytest.fixture(scope="module", params=STATES.values(), ids=[*STATES])
def in_state(request: pytest.FixtureRequest, browser: Browser, server: str) -> Iterator[Page]:
    """A page in one of its states, for all tests of that state."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        state: PageState = request.param
        state(page, server)
        yield page


def test_axe_finds_nothing_in_any_state_of_a_lesson(in_state: Page) -> None:
    assert examined(in_state) == []


def test_nothing_that_a_run_brings_makes_it_scroll_sideways(in_state: Page) -> None:
    opened(in_state)
    assert sideways(in_state) == {}
