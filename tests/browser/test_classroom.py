"""A class with an instructor, a projector and learners in browsers, and simulated ones over HTTP."""

import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from app.cli.rehearsal import SimulatedLearner
from app.course import Lesson
from tests.support.axe import examined
from tests.support.browser import RUN_MS
from tests.support.classroom import ClassServer, entered, holding
from tests.support.environment import SLOWER_BY
from tests.support.layout import sideways
from tests.support.states import CLASS_PAGES, run

SIMULATED = 25
WATCH = "window.breaches = []; addEventListener('securitypolicyviolation', e => breaches.push(e.violatedDirective))"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def contexts() -> Iterator[list[BrowserContext]]:
    made: list[BrowserContext] = []
    yield made
    for each in made:
        each.close()


def opened(browser: Browser, contexts: list[BrowserContext], width: int = 1280) -> Page:
    """Open a page in a browser of its own."""
    contexts.append(browser.new_context(viewport={"width": width, "height": 900}))
    page = contexts[-1].new_page()
    page.add_init_script(WATCH)
    return page


def joined(page: Page, url: str, name: str) -> None:
    page.goto(url)
    page.get_by_label("Your name on the class map").fill(name)
    page.get_by_role("button", name="Join the class").click()
    expect(page.get_by_role("link", name=f"{name}, as the instructor sees you")).to_be_visible()


def simulate(url: str, lessons: dict[str, Lesson]) -> None:
    """Let simulated learners join and read a step; every fifth runs its solution."""

    def take(number: int) -> None:
        learner = SimulatedLearner(url, number, [], skill=1.0)
        learner.join()
        learner.open(lessons["no-std"])
        if number % 5 == 0:
            assert learner.try_once(lessons["no-std"])

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(take, range(SIMULATED)))


def test_a_class_from_the_first_learner_to_the_last(
    browser: Browser, contexts: list[BrowserContext], data: Path, lessons: dict[str, Lesson]
) -> None:
    with holding(data, "--name", "Rust in November") as held:
        instructor = opened(browser, contexts)
        wall = _begin(instructor, held)
        simulate(held.url, lessons)
        expect(instructor.locator("#class-figures")).to_contain_text(f"{SIMULATED} here")
        ada = opened(browser, contexts)
        joined(ada, held.url, "Otter")
        _get_stuck_and_be_helped(ada, instructor)
        _raise_a_hand_and_show_a_run(ada, instructor)
        _show_on_the_wall(instructor, wall, held)
        device = _move(ada, opened(browser, contexts, 390))
        _look_at_every_page(instructor, ada, held)
        held.server.stop(signal.SIGKILL)
    with holding(data) as again:
        instructor.goto(f"{again.url}/class")
        expect(instructor.locator("#class-hands")).to_contain_text("Otter")
        expect(instructor.locator("#class-rows [role=row]")).to_have_count(SIMULATED + 1)
        expect(instructor.get_by_role("heading", level=1)).to_have_text("Rust in November")
        device.goto(again.url)
        device.get_by_text("Delete my data").click()
        device.get_by_role("button", name="Delete everything").click()
        expect(device.get_by_text("All data stored about you has been deleted.")).to_be_visible(timeout=RUN_MS)
        expect(instructor.locator("#class-rows [role=row]")).to_have_count(SIMULATED, timeout=RUN_MS)
        expect(instructor.locator("#class-rows")).not_to_contain_text("Otter")


def _begin(instructor: Page, held: ClassServer) -> Page:
    """Open the instructor's page by its link, and the wall beside it."""
    entered(instructor, held)
    wall = instructor.context.new_page()
    wall.goto(f"{held.url}/class/wall")
    expect(wall.locator("#wall")).to_contain_text(held.url)
    expect(wall.locator("#wall svg")).to_be_visible()
    return wall


def _get_stuck_and_be_helped(ada: Page, instructor: Page) -> None:
    """Miss the goal three times, be seen, and get a hint and a snippet that can be undone."""
    ada.goto(re.sub(r"(//[^/]+)/.*", r"\1/lessons/panic-handler", ada.url))
    for _ in range(3):
        run(ada)
        ada.locator("#run-verdict").evaluate("verdict => verdict.replaceChildren()")
    since = time.monotonic()
    card = instructor.locator(".class-card", has_text="Otter")
    expect(card).to_contain_text("the last 3 runs had the same error", timeout=RUN_MS)
    assert time.monotonic() - since < 2 * SLOWER_BY
    card.get_by_role("button", name="Send hint 1").click()
    expect(ada.locator(".class-words")).to_contain_text("attribute that your function needs", timeout=RUN_MS)
    ada.locator(".class-words").get_by_role("button", name="Close").click()
    expect(ada.locator(".class-words")).to_have_count(0)
    instructor.locator(".class-card", has_text="Otter").get_by_role("link", name="Write or offer code").click()
    instructor.get_by_label("A sentence or a snippet").fill("#[panic_handler]\nfn panic(_info: &PanicInfo) -> ! {\n")
    instructor.get_by_role("button", name="Offer it as a snippet").click()
    expect(instructor.get_by_text("Sent.")).to_be_visible()
    text = ada.locator("textarea[data-path='src/main.rs']")
    before = text.input_value()
    ada.get_by_role("button", name="Put this in my files").click(timeout=RUN_MS)
    expect(text).to_have_value(re.compile("#\\[panic_handler\\]"))
    ada.get_by_role("button", name="Restore").click()
    expect(text).to_have_value(before)


def _raise_a_hand_and_show_a_run(ada: Page, instructor: Page) -> None:
    ada.get_by_role("button", name="Raise hand").click()
    expect(instructor.locator("#class-hands")).to_contain_text("Otter", timeout=RUN_MS)
    ada.get_by_role("button", name="Show my last run").click()
    expect(ada.locator(".class-strip")).to_contain_text("can see a run of yours")
    instructor.locator("#class-hands").get_by_role("link", name="See their run").click(timeout=RUN_MS)
    expect(instructor.get_by_role("region", name="src/main.rs")).to_contain_text("#![no_std]")
    expect(instructor.get_by_role("region", name="Output")).to_contain_text("panic_handler")


def _show_on_the_wall(instructor: Page, wall: Page, held: ClassServer) -> None:
    """Show progress, a poll and an error on the wall: no name, no small number, all of it large."""
    instructor.goto(f"{held.url}/class/step/no-std")
    instructor.get_by_role("button", name="Show on the wall").first.click()
    expect(wall.locator(".wall-count")).to_contain_text(f"5 of {SIMULATED + 1}", timeout=RUN_MS)
    instructor.goto(f"{held.url}/class/step/panic-handler")
    instructor.locator(".class-errors").get_by_role("button").first.click()
    expect(wall.locator("#wall pre")).to_contain_text("error", timeout=RUN_MS)
    wall.keyboard.press("ArrowRight")
    expect(wall.locator("#wall")).to_contain_text(held.url, timeout=RUN_MS)
    wall.keyboard.press("ArrowLeft")
    expect(wall.locator("#wall pre")).to_be_visible(timeout=RUN_MS)
    assert "Otter" not in wall.content()
    small = """() => [...document.querySelectorAll('.wall *')].filter(each => each.checkVisibility()
        && [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim())
        && parseFloat(getComputedStyle(each).fontSize) < 28).map(each => each.outerHTML.slice(0, 100))"""
    assert wall.evaluate(small) == []
    assert sideways(wall) == {}
    wall.keyboard.press("q")
    expect(wall.locator("#class-figures")).to_be_visible()
    wall.close()


def _move(ada: Page, device: Page) -> Page:
    """Move the learner to another device by her own link; the link is kept for a look at its page."""
    ada.get_by_role("link", name="as the instructor sees you").click()
    ada.get_by_role("button", name="Use another device").click()
    assert examined(ada) == []
    link = ada.locator(".class-qr code").inner_text()
    device.goto(link)
    device.get_by_role("button", name="Continue as Otter").click()
    expect(device.locator(".class-strip")).to_contain_text("Your hand is raised")
    expect(device.locator(".class-strip")).to_contain_text("opened this seat on another device")
    return device


def _look_at_every_page(instructor: Page, ada: Page, held: ClassServer) -> None:
    """Look at each page of the class with axe, at every width, and under the content security policy."""
    ada.goto(f"{held.url}/class/me")
    ada.get_by_role("button", name="Use another device").click()
    token = ada.locator(".class-qr code").inner_text().rpartition("/")[2]
    instructor.goto(f"{held.url}/class")
    numbers = {
        "members": instructor.get_by_role("link", name="Otter").first.get_attribute("href") or "",
        "runs": instructor.get_by_role("link", name="See their run").first.get_attribute("href") or "",
    }
    for path in CLASS_PAGES.values():
        page = ada if path.startswith(("/class/me", "/seat/")) else instructor
        kind = path.split("/")[2] if path.count("/") > 2 else ""
        page.goto(held.url + numbers.get(kind, path.replace("TOKEN", token)))
        expect(page.locator("h1")).to_be_visible()
        assert examined(page) == [], path
        assert sideways(page) == {}, path
        assert page.evaluate("breaches") == [], path
        page.set_viewport_size({"width": 1280, "height": 900})
    instructor.goto(f"{held.url}/class")
    ada.goto(f"{held.url}/lessons/no-std")
    expect(ada.locator("form[data-ready]")).to_be_attached()
    assert examined(ada) == []
    assert sideways(ada) == {}


def test_a_class_works_without_scripts(browser: Browser, data: Path) -> None:
    with holding(data) as held, browser.new_context(java_script_enabled=False) as context:
        learner = context.new_page()
        joined(learner, held.url, "Bob")
        learner.goto(f"{held.url}/lessons/no-std")
        learner.get_by_role("button", name="Raise hand").click()
        expect(learner.locator(".class-strip")).to_contain_text("Your hand is raised")
        with browser.new_context(java_script_enabled=False) as other:
            instructor = other.new_page()
            instructor.goto(f"{held.url}/class")
            instructor.get_by_label("Key").fill(held.key)
            instructor.get_by_role("button", name="Open the class").click()
            expect(instructor.locator("#class-hands")).to_contain_text("Bob")
            instructor.get_by_role("button", name="Lower").click()
            expect(instructor.locator("#class-hands")).to_contain_text("No hand is raised")
