"""The pages of a class stay up to date: after outages, beside hidden pages, and behind a proxy that answers itself."""

import time
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.support.browser import RUN_MS
from tests.support.classroom import ClassServer, entered, holding
from tests.support.clients import seated
from tests.support.environment import within
from tests.support.polling import eventually
from tests.support.wire import Wire

SILENCE_MS = 16_000
"""More milliseconds than a page waits until it takes its stream for dead."""
POLL_MS = 2_000
"""More milliseconds than a learner's page waits between two questions."""
CONNECTIONS = 6
"""Connections that a browser opens to one server."""
# Headless pages are never hidden, so a script says that they are.
HIDING = "Object.defineProperty(document, 'hidden', { get: () => window.covered ?? false })"
HIDE = "covered => { window.covered = covered; document.dispatchEvent(new Event('visibilitychange')) }"

# Notes how long each pause of a page is, and shortens it.
HURRY = """
window.pauses = [];
const wait = window.setTimeout.bind(window);
window.soon = done => wait(done, 0);
window.setTimeout = (work, ms, ...rest) => { window.pauses.push(ms); return wait(work, Math.min(ms, 10), ...rest); };
"""


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClassServer]:
    with holding(tmp_path_factory.mktemp("class") / "data") as server:
        yield server


@pytest.fixture
def wire(held: ClassServer) -> Iterator[Wire]:
    made = Wire(held.url)
    yield made
    made.close()


def join(held: ClassServer, name: str) -> None:
    """Let a learner join the class."""
    with seated(held.url) as learner:
        assert learner.post("/class/join", data={"name": name}).status_code == 303


def sees(page: Page, name: str) -> None:
    """Wait until the class map has a row for the learner."""
    expect(page.locator("#class-rows")).to_contain_text(name, timeout=RUN_MS)


def test_pages_find_a_server_that_was_away(browser: Browser, held: ClassServer, wire: Wire) -> None:
    with browser.new_context() as context:
        context.clock.install()
        page, step = context.new_page(), context.new_page()
        entered(page, held)
        page.goto(f"{wire.url}/class")
        step.goto(f"{wire.url}/class/step/no-std")
        join(held, "Ada")
        sees(page, "Ada")
        members = page.locator("#class-rows [role=row]").count()
        expect(step.locator(".lead")).to_contain_text(f"0 of {members} reached it", timeout=RUN_MS)
        wire.freeze()
        join(held, "Bob")
        context.clock.fast_forward(SILENCE_MS)
        sees(page, "Bob")
        expect(step.locator(".lead")).to_contain_text(f"0 of {members + 1} reached it", timeout=RUN_MS)
        wire.refuse()
        context.clock.fast_forward(SILENCE_MS)
        note = page.locator("[data-stale] .note")
        expect(note).to_be_visible()
        join(held, "Cleo")
        wire.heal()
        sees(page, "Cleo")
        expect(note).to_have_count(0)


def test_hidden_pages_leave_a_connection_to_the_one_that_is_shown(browser: Browser, held: ClassServer) -> None:
    with browser.new_context() as context:
        context.add_init_script(HIDING)
        pages = [context.new_page() for _ in range(CONNECTIONS + 1)]
        entered(pages[0], held)
        for page in pages:
            page.goto(f"{held.url}/class")
            expect(page.locator("#class-figures")).to_be_visible()
            page.evaluate(HIDE, True)
        pages[0].evaluate(HIDE, False)
        join(held, "Dora")
        sees(pages[0], "Dora")
        expect(pages[1].locator("#class-rows")).not_to_contain_text("Dora")
        pages[1].evaluate(HIDE, False)
        sees(pages[1], "Dora")


def test_a_page_that_cannot_show_what_comes_asks_ever_less_often(browser: Browser, held: ClassServer) -> None:
    with browser.new_context() as context:
        context.add_init_script(HIDING)
        context.add_init_script(HURRY)
        page = context.new_page()
        entered(page, held)
        page.evaluate("() => { pauses.length = 0; htmx.swap = () => Promise.reject(new Error('broken')); }")
        page.evaluate(HIDE, True)
        page.evaluate(HIDE, False)
        page.wait_for_function("() => pauses.some(ms => ms > 1400)", timeout=RUN_MS)


def test_a_page_that_was_hidden_before_a_failure_opens_no_stream(browser: Browser, held: ClassServer) -> None:
    with browser.new_context() as context:
        context.add_init_script(HIDING)
        context.add_init_script(HURRY)
        page = context.new_page()
        entered(page, held)
        page.evaluate("() => { htmx.swap = () => new Promise((_, fail) => { window.fail = fail; }); }")
        page.evaluate(HIDE, True)
        page.evaluate(HIDE, False)
        # Not with wait_for_function, which waits for the page to be drawn: on a busy machine it was not for 30 s.
        assert eventually(lambda: page.evaluate("window.fail !== undefined"), RUN_MS / 1000), page.evaluate("pauses")
        page.evaluate(HIDE, True)
        page.evaluate("async () => { pauses.length = 0; fail(new Error('broken')); await new Promise(soon); }")
        assert page.evaluate("pauses") == []


def test_a_learners_strip_outlives_the_answers_of_a_proxy(browser: Browser, held: ClassServer) -> None:
    statuses = [502, 429]

    def answer(route: Route) -> None:
        if statuses:
            route.fulfill(status=statuses.pop(), content_type="text/html", body="<h1>No gateway</h1>")
        else:
            route.continue_()

    with browser.new_context() as context, httpx.Client(base_url=held.url) as instructor:
        context.clock.install()
        page = context.new_page()
        page.goto(held.url)
        page.get_by_role("button", name="Join the class").click()
        expect(page.locator("#class-hand")).to_be_visible()  # the next page is here, and with it its own clock
        page.route("**/class/strip*", answer)
        assert instructor.post("/class/enter", data={"key": held.key}).status_code == 303
        assert instructor.post("/class/pace", data={"banner": "Here again"}).status_code == 303
        began = time.monotonic()
        while statuses and within(30, began):
            context.clock.fast_forward(POLL_MS)
            page.wait_for_timeout(100)
        assert not statuses, "it goes on to ask"
        context.clock.fast_forward(POLL_MS)
        expect(page.locator(".class-banner")).to_have_text("Here again", timeout=RUN_MS)
        expect(page.get_by_text("No gateway")).to_have_count(0)
