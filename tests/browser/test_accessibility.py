"""No page has a violation or scrolls sideways, before and after a run.

axe-core looks at light, dark and forced colours, and the widths are those of a phone, of 200 % zoom and of a wide
screen. Each state of a page is set up once for both.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from app.course.lesson import Lesson
from tests.support.axe import MODES, examined
from tests.support.browser import RUN_MS, type_files
from tests.support.environment import EVERYTHING
from tests.support.layout import sideways
from tests.support.states import LONELY, STATES, PageState, opened, paths

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


# Record what a screen reader would say: the text of each live region that was there before it changed.
SAID = """() => {
    const live = "[aria-live], [role=status], [role=alert], [role=log]";
    new MutationObserver((records) => {
        const fresh = new Set(records.flatMap((record) => [...record.addedNodes]));
        const changed = new Set();
        for (const { target } of records) {
            const region = (target.nodeType === Node.TEXT_NODE ? target.parentElement : target)?.closest(live);
            if (!region || region.ariaLive === "off" || !region.isConnected) continue;
            let isFresh = false;
            for (let each = region; each; each = each.parentElement) isFresh ||= fresh.has(each);
            if (!isFresh) changed.add(region);
        }
        for (const region of changed) {
            const text = region.innerText.trim();
            if (text) window.said.push([region.id, text.split("\\n")[0]]);
        }
    }).observe(document, { subtree: true, childList: true, characterData: true });
}"""


ENDS = ("Finished", "Failed", "Cancelled", "Stopped", "Timed out")


def live_regions(page: Page) -> dict[str, str]:
    """Return how urgent each live region of the accessibility tree is, by the element's id."""
    session = page.context.new_cdp_session(page)
    session.send("DOM.enable")
    session.send("Accessibility.enable")
    found = {}
    for node in session.send("Accessibility.getFullAXTree")["nodes"]:
        urgency = next((each["value"]["value"] for each in node.get("properties", []) if each["name"] == "live"), None)
        # Every node below has the region's value, too; the region itself names it as its root.
        if urgency and not node["ignored"]:
            described = session.send("DOM.describeNode", {"backendNodeId": node["backendDOMNodeId"]})["node"]
            names = dict(zip(described.get("attributes", [])[::2], described.get("attributes", [])[1::2], strict=True))
            if names.get("role") in ("status", "alert", "log") or "aria-live" in names:
                found[names.get("id", "")] = urgency
    session.detach()
    return found


@pytest.mark.parametrize(
    ("slug", "solved", "end", "verdict"),
    [
        ("hello-std", True, "Finished in", "Goal reached."),
        ("panic-handler", True, "Failed as expected", "This is the error we came for."),
        ("panic-handler", False, "Failed with exit code", "Not there yet."),
    ],
)
def test_the_end_of_a_run_and_its_verdict_are_each_announced_once(
    page: Page, server: str, lessons: dict[str, Lesson], slug: str, solved: bool, end: str, verdict: str
) -> None:
    page.goto(f"{server}/lessons/{slug}")
    expect(page.locator("form[data-ready]")).to_be_attached()
    lesson = lessons[slug]
    if solved:
        type_files(page, {path: text for path, text in lesson.solution.items() if text != lesson.files[path]})
    page.evaluate(SAID)
    for _ in range(2):
        page.evaluate("window.said = []")
        page.locator("#run").evaluate("run => { run.dataset.before = '' }")
        page.locator("#command").press("Enter")
        expect(page.locator("#run:not([data-before]) #run-verdict > *")).to_have_count(1, timeout=RUN_MS)
        page.wait_for_timeout(500)
        said = page.evaluate("window.said")
        ends = [text for _, text in said if text.startswith(ENDS)]
        assert len(ends) == 1, said
        assert ends[0].startswith(end)
        assert [text for id_, text in said if id_ == "run-verdict"] == [verdict], said
        regions = live_regions(page)
        assert regions["run-status"] == regions["run-verdict"] == "polite"
        assert regions.get("run-output", "off") == "off", "the output itself would be read out line by line"
