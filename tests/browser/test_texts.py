"""Quotations, explanations and comparisons in lessons, in headless Chromium on a real server."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import area, learner
from tests.support.clients import disagreement

RUN_MS = 60_000


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


def test_now_and_then_are_tabs_of_one_block_that_opens_when_the_command_has_run(page: Page, server: str) -> None:
    page.goto(f"{server}/lessons/empty-main")
    quotation = page.locator("details.recorded").first
    expect(quotation.locator("figure").first).to_be_hidden()
    quotation.locator("summary").first.click()
    now, then = quotation.locator("figure").nth(0), quotation.locator("figure").nth(1)
    expect(now).to_be_visible()
    expect(then).to_be_hidden()
    quotation.get_by_text("Rust 1.63").click()
    expect(now).to_be_hidden()
    expect(then).to_be_visible()


def test_what_was_to_be_seen_unfolds_beside_what_came(browser: Browser, server: str) -> None:
    page = browser.new_context().new_page()
    page.goto(f"{server}/lessons/empty-main")
    page.locator("[data-run]").click()
    expect(page.locator(".verdict")).to_be_visible(timeout=RUN_MS)
    expect(page.locator("details.recorded[data-expects='cargo build']").first).to_have_attribute("open", "")
    page.context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_code_of_the_text_is_inserted_run_and_taken_back(browser: Browser, server: str, width: int) -> None:
    with learner(browser, server, width=width) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.goto(f"{server}/lessons/panic-handler")
        expect(page.locator("form[data-ready]")).to_be_attached()
        start = area(page).input_value()
        block = page.locator(".code-block", has_text="panic_handler").first
        block.get_by_role("button", name="Copy").click()
        assert page.evaluate("navigator.clipboard.readText()") == block.locator("code").inner_text().strip()
        block.get_by_role("button", name="Insert").click()
        expect(area(page)).to_have_value(re.compile("panic_handler"))
        page.get_by_role("button", name="Restore my text").click()
        expect(area(page)).to_have_value(start)
        page.goto(f"{server}/lessons/target-triple")
        block = page.locator(".code-block", has_text="rustc --version").first
        block.get_by_role("button", name="Run").click()
        expect(page.locator(".verdict.reached")).to_be_visible(timeout=RUN_MS)
        # Also on a phone the text stays where it is.
        expect(block).to_be_visible()
        expect(page.locator("#run-terminal")).to_contain_text("host:")


def test_one_source_gets_every_compilers_answer(page: Page, server: str) -> None:
    slug, command = disagreement(server)
    page.goto(f"{server}/lessons/{slug}")
    page.select_option("select[name=toolchain]", "all")
    page.locator("#command").fill(command)
    page.locator("[data-run]").click()
    expect(page.locator("#run-status")).to_have_text(re.compile("differ|disagree|say the same"), timeout=RUN_MS)
    expect(page.locator("#run-cancel form")).to_have_count(0)
    columns = page.locator("#run-columns > section")
    assert columns.count() > 1
    expect(page.locator("#run-columns mark").first).to_be_visible()
    page.get_by_role("link", name="Open as page").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("then and now")
    page.wait_for_load_state("load")
    boxes = [each.bounding_box() for each in page.locator("#run-columns > section").all()]
    assert len({box["y"] for box in boxes if box}) == 1
    page.get_by_role("link", name="Back to the step").click()
    expect(page.locator(".prose h1")).to_be_visible()
