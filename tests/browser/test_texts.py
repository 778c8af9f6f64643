"""Quotations, explanations and comparisons in lessons, in headless Chromium on a real server."""

import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.clients import disagreement

RUN_MS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("no chromium here; apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture(params=[True, False], ids=["scripts", "no scripts"])
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    context = browser.new_context(java_script_enabled=request.param, viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    errors: list[str] = []
    opened.on("console", lambda said: errors.append(said.text) if said.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert errors == []


def test_a_word_says_what_it_means_on_hover_and_on_focus(page: Page, server: str) -> None:
    page.goto(f"{server}/lessons/entry-point")
    term = page.locator(".term").first
    tip = term.locator(".tip")
    expect(tip).to_be_hidden()
    term.hover()
    expect(tip).to_be_visible()
    tip.hover()
    expect(tip).to_be_visible()
    page.mouse.move(0, 0)
    expect(tip).to_be_hidden()
    term.locator("a").focus()
    expect(tip).to_be_visible()
    term.locator("a").press("Enter")
    expect(page).to_have_url(re.compile(r"/glossary#[a-z0-9-]+$"))
    expect(page.locator(f"[id='{page.url.partition('#')[2]}']")).to_be_in_viewport()


def test_escape_puts_a_meaning_away(browser: Browser, server: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{server}/lessons/entry-point")
    term = page.locator(".term").first
    term.locator("a").focus()
    expect(term.locator(".tip")).to_be_visible()
    page.keyboard.press("Escape")
    expect(term.locator(".tip")).to_be_hidden()
    page.locator(".term").nth(1).locator("a").focus()
    term.locator("a").focus()
    expect(term.locator(".tip")).to_be_visible()
    context.close()


def test_now_and_then_stand_side_by_side_and_below_each_other_on_a_phone(page: Page, server: str) -> None:
    page.goto(f"{server}/lessons/empty-main")
    now, then = (page.locator(".recorded").first.locator("figure").nth(number).bounding_box() for number in (0, 1))
    assert now
    assert then
    assert now["y"] == then["y"]
    assert now["x"] < then["x"]
    page.set_viewport_size({"width": 360, "height": 800})
    now, then = (page.locator(".recorded").first.locator("figure").nth(number).bounding_box() for number in (0, 1))
    assert now
    assert then
    assert now["x"] == then["x"]
    assert now["y"] < then["y"]


def test_one_source_gets_every_compilers_answer(page: Page, server: str) -> None:
    slug, command = disagreement(server)
    page.goto(f"{server}/lessons/{slug}")
    page.select_option("select[name=toolchain]", "all")
    page.locator("#command").fill(command)
    page.locator("[data-run]").click()
    expect(page.locator("#run-status")).to_have_text(re.compile("differ|say the same"), timeout=RUN_MS)
    expect(page.locator("#run-cancel form")).to_have_count(0)
    columns = page.locator("#run-columns > section")
    assert columns.count() > 1
    expect(page.locator("#run-columns mark").first).to_be_visible()
    page.get_by_role("link", name="On a page of its own").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("then and now")
    page.wait_for_load_state("load")
    boxes = [each.bounding_box() for each in page.locator("#run-columns > section").all()]
    assert len({box["y"] for box in boxes if box}) == 1
    page.get_by_role("link", name="Back to the step").click()
    expect(page.locator(".prose h1")).to_be_visible()
