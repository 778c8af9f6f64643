"""A class with an instructor, a projector and five learners in browsers, and simulated ones over HTTP."""

import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

import app.cli.learner as simulated
from app.course import Lesson
from bench.pace import pace
from tests.support.axe import examined
from tests.support.browser import RUN_MS
from tests.support.classroom import ClassServer, entered, holding
from tests.support.environment import within
from tests.support.layout import sideways
from tests.support.ports import free_port
from tests.support.states import CLASS_PAGES, run, solved

SIMULATED = 25
OTHERS = ("Ida", "Mei", "Tomás", "Noor")
"""The learners in browsers besides Otter."""
PRESENT = SIMULATED + 1 + len(OTHERS)
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

    async def take(number: int, places: anyio.CapacityLimiter) -> None:
        async with places, simulated.Browser(url) as browser:
            learner = simulated.SimulatedLearner(browser, number, skill=1.0)
            await learner.join()
            await learner.open(lessons["no-std"])
            if number % 5 == 0:
                assert await learner.try_once(lessons["no-std"])

    async def take_all() -> None:
        places = anyio.CapacityLimiter(5)
        async with anyio.create_task_group() as group:
            for number in range(SIMULATED):
                group.start_soon(take, number, places)

    with ThreadPoolExecutor(1) as pool:  # Playwright's own loop runs in this thread
        pool.submit(anyio.run, take_all).result()


def test_a_class_from_the_first_learner_to_the_last(
    browser: Browser, contexts: list[BrowserContext], data: Path, lessons: dict[str, Lesson]
) -> None:
    port = ("--port", str(free_port()))
    with holding(data, "--name", "Rust in November", *port) as held:
        instructor = opened(browser, contexts)
        wall = _begin(instructor, held)
        simulate(held.url, lessons)
        expect(instructor.locator("#class-figures")).to_contain_text(f"{SIMULATED} here")
        ada = opened(browser, contexts)
        joined(ada, held.url, "Otter")
        others = _bring(OTHERS, browser, contexts, held)
        _get_stuck_and_be_helped(ada, instructor)
        _work(others, instructor, held)
        before = _content(instructor)
        held.server.stop(signal.SIGKILL)
    with holding(data, *port) as held:
        _find_everything_as_before(before, instructor, wall, [ada, *others], held)
        _run_again(ada)
        _raise_a_hand_and_show_a_run(ada, instructor)
        _show_on_the_wall(instructor, wall, held)
        device = _move(ada, opened(browser, contexts, 390))
        _look_at_every_page(instructor, ada, held)
        device.goto(held.url)
        device.get_by_text("Delete my data").click()
        device.get_by_role("button", name="Delete everything").click()
        expect(device.get_by_text("All data stored about you has been deleted.")).to_be_visible(timeout=RUN_MS)
        expect(_rows(instructor)).to_have_count(PRESENT - 1, timeout=RUN_MS)
        expect(instructor.locator("#class-rows")).not_to_contain_text("Otter")


def _begin(instructor: Page, held: ClassServer) -> Page:
    """Open the instructor's page by its link, and the wall beside it."""
    entered(instructor, held)
    wall = instructor.context.new_page()
    wall.goto(f"{held.url}/class/wall")
    expect(wall.locator("#wall")).to_contain_text(held.url)
    expect(wall.locator("#wall svg")).to_be_visible()
    return wall


def _rows(instructor: Page) -> Locator:
    return instructor.locator("#class-rows [role=row]")


def _bring(names: tuple[str, ...], browser: Browser, contexts: list[BrowserContext], held: ClassServer) -> list[Page]:
    """Let learners join, each in a browser of its own."""
    pages = [opened(browser, contexts) for _ in names]
    for page, name in zip(pages, names, strict=True):
        joined(page, held.url, name)
    return pages


def _work(others: list[Page], instructor: Page, held: ClassServer) -> None:
    """Raise two hands, reach a goal, miss one, and only read."""
    ida, mei, tomas, noor = others
    for page, slug in ((ida, "hello-std"), (tomas, "panic-handler"), (noor, "no-std")):
        page.goto(f"{held.url}/lessons/{slug}")
    for page in (noor, ida):
        page.get_by_role("button", name="Raise hand").press("Enter")
        expect(page.locator(".class-strip")).to_contain_text("Your hand is raised")
        expect(page.get_by_role("button", name="Lower hand")).to_be_focused()
    solved(mei, held.url, "no-std")
    run(tomas)
    expect(instructor.locator("#class-hands")).to_contain_text(re.compile("Noor.*Ida", re.DOTALL), timeout=RUN_MS)
    expect(_rows(instructor).filter(has_text="Mei")).to_contain_text("✓", timeout=RUN_MS)
    expect(_rows(instructor).filter(has_text="Tomás")).to_contain_text("•", timeout=RUN_MS)


def _content(instructor: Page) -> tuple[list[str], list[str]]:
    """Return the instructor's rows, in no order, and the hands in theirs."""
    return sorted(_rows(instructor).all_inner_texts()), instructor.locator("#class-hands li").all_inner_texts()


def _find_everything_as_before(
    before: tuple[list[str], list[str]], instructor: Page, wall: Page, learners: list[Page], held: ClassServer
) -> None:
    """Wait until every page has found the new server by itself: the class, its map and its hands are as they were."""
    other = instructor.context.new_page()
    other.goto(f"{held.url}/class")
    expect(other.get_by_role("heading", level=1)).to_have_text("Rust in November")
    assert _content(other) == before
    other.get_by_label("Banner for everyone").fill("Here again")
    other.locator("form", has_text="Banner for everyone").get_by_role("button").click()
    for page in (wall, *learners):
        expect(page.locator(".wall-banner, .class-banner")).to_have_text("Here again", timeout=RUN_MS)
    learners[-1].get_by_role("button", name="Lower hand").click()
    expect(instructor.locator("#class-hands")).not_to_contain_text("Noor", timeout=RUN_MS)
    expect(_rows(instructor)).to_have_count(PRESENT)
    other.close()


def _get_stuck_and_be_helped(ada: Page, instructor: Page) -> None:
    """Miss the goal three times, be seen, and get a hint and a snippet that can be undone."""
    ada.goto(re.sub(r"(//[^/]+)/.*", r"\1/lessons/panic-handler", ada.url))
    for _ in range(3):
        _run_again(ada)
    slowness, since = pace(), time.monotonic()
    card = instructor.locator(".class-card", has_text="Otter")
    expect(card).to_contain_text("the last 3 runs had the same error", timeout=RUN_MS)
    assert within(2, since, slowness)
    card.get_by_role("link", name="Write or offer code").focus()
    _run_again(ada)
    expect(card).to_contain_text("4 tries", timeout=RUN_MS)
    expect(card.get_by_role("link", name="Write or offer code")).to_be_focused()  # in the card that was drawn anew
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


def _run_again(page: Page) -> None:
    """Run, and clear the verdict, so that the next one is waited for."""
    run(page)
    page.locator("#run-verdict").evaluate("verdict => verdict.replaceChildren()")


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
    expect(wall.locator(".wall-count")).to_contain_text(f"6 of {PRESENT}", timeout=RUN_MS)
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
        _look_at(page)
    ada.goto(f"{held.url}/class")
    expect(ada.get_by_label("Key")).to_be_visible()
    _look_at(ada)
    instructor.goto(held.url + numbers["members"])
    instructor.get_by_role("button", name="Make a link to this seat").click()
    expect(instructor.locator(".class-qr")).to_be_visible()
    _look_at(instructor)
    instructor.goto(f"{held.url}/class")
    ada.goto(f"{held.url}/lessons/no-std")
    expect(ada.locator("form[data-ready]")).to_be_attached()
    assert examined(ada) == []
    assert sideways(ada) == {}


def _look_at(page: Page) -> None:
    assert examined(page) == [], page.url
    assert sideways(page) == {}, page.url
    assert page.evaluate("breaches") == [], page.url
    page.set_viewport_size({"width": 1280, "height": 900})


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
            learner.reload()
            learner.get_by_role("button", name="Raise hand").click()
            expect(learner.locator(".class-strip")).to_contain_text("Your hand is raised")
            instructor.get_by_role("link", name="Update this page").click()
            expect(instructor.locator("#class-hands")).to_contain_text("Bob")
            for path, seconds in (("step/no-std", "10"), ("wall", "5")):
                instructor.goto(f"{held.url}/class/{path}")
                expect(instructor.locator("meta[http-equiv=refresh]")).to_have_attribute("content", seconds)
