"""The content security policy in a real browser: no page violates it, and output stays text."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from app.course.lesson import Lesson
from tests.support.browser import RUN_MS, learner, type_files
from tests.support.states import paths

HOSTILE = (
    "</pre></hx-partial><script>window.hit = 1</script><img src=x onerror='window.hit = 1'>\n\n"
    "event: run-done\ndata: <b id='injected'>x</b>\n\nid: 999\n\r\r\u2028\u2029"
    "<b id='injected' style='color:red' hx-get='/forget' hx-trigger='load'>x</b>"
    "\x1b]8;;javascript:window.hit=1\x07link\x1b]8;;\x07\x1b[31m<svg onload='window.hit = 1'>\x1b[0m\n"
)
# The browser reports each violation, so the test does not rely on the page's scripts.
WATCH = "window.breaches = []; addEventListener('securitypolicyviolation', e => breaches.push(e.violatedDirective))"


@pytest.fixture
def watched(browser: Browser, server: str) -> Iterator[Page]:
    with learner(browser, server) as page:
        page.add_init_script(WATCH)
        yield page


def test_no_page_breaks_the_policy(watched: Page, server: str, lessons: dict[str, Lesson]) -> None:
    for path in ("/?forgotten=1", *paths(lessons)):
        if path == "/nowhere":
            continue  # Chromium notes the 404 on its console, where the fixture allows nothing
        watched.goto(server + path)
        expect(watched.locator("h1")).to_be_visible()
        assert watched.evaluate("breaches") == [], path


@pytest.mark.parametrize("reloaded", [False, True], ids=["live", "reloaded"])
def test_what_a_run_prints_stays_text(watched: Page, server: str, reloaded: bool) -> None:
    watched.goto(f"{server}/lessons/hello-std")
    text = json.dumps(HOSTILE).replace("\\u001b", "\\x1b").replace("\\u0007", "\\x07")
    text = text.replace("\\u2028", "\\u{2028}").replace("\\u2029", "\\u{2029}")
    type_files(watched, {"src/main.rs": f'fn main() {{ print!("{{}}", {text}); }}\n'})
    watched.locator("#command").fill("cargo run")
    watched.get_by_role("button", name="Run", exact=True).click()
    expect(watched.locator(".verdict")).to_be_visible(timeout=RUN_MS)
    if reloaded:
        watched.reload()
    terminal = watched.locator("#run-terminal")
    for shown in ("<script>window.hit = 1</script>", "event: run-done", "<b id='injected'", "link", "<svg onload"):
        expect(terminal).to_contain_text(shown)
    assert watched.locator("#injected, #run-terminal :not(span, div.lines)").count() == 0
    assert watched.evaluate("[window.hit, breaches]") == [None, []]
    assert watched.evaluate("document.querySelector('#run [style]')") is None
