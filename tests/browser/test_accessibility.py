"""axe-core reports no violation on any page, in light, dark and forced colours, before and after a run."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from app.course.lessons import Lesson
from tests.support.axe import examined
from tests.support.states import STATES, PageState, paths

pytestmark = pytest.mark.usefixtures("bare_metal")


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield context.new_page()


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
