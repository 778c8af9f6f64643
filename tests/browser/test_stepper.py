"""The stepper and the observation of a program, in headless Chromium."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import states
from tests.support.browser import RUN_MS, learner, show
from tests.support.environment import BARE_METAL

COMMAND = f"cargo build --target {BARE_METAL}"


def build(page: Page, server: str) -> None:
    page.goto(f"{server}/lessons/bare-metal")
    if (code := page.get_by_text("Code", exact=True)).is_visible():  # a narrow page shows one view at a time
        code.click()
    page.locator("#command").fill(COMMAND)
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator(".verdict")).to_be_visible(timeout=RUN_MS)
    expect(page.locator(".verdict.reached"), page.locator("#run").inner_text()).to_have_count(1)


@pytest.mark.usefixtures("bare_metal")
def test_the_keys_step_forwards_and_backwards_and_round_the_loop(browser: Browser, server: str) -> None:
    with learner(browser, server) as page:
        page.set_viewport_size({"width": 1280, "height": 800})
        build(page, server)
        show(page, "binary")
        page.get_by_role("link", name="Step through it").click()
        title = page.locator("#stepper-title")
        expect(title).to_have_text(re.compile(r"^Step 0 of \d+, then it repeats$"), timeout=RUN_MS)
        first = page.locator("#stepper .instruction").inner_text()
        page.keyboard.press("ArrowRight")
        expect(title).to_have_text(re.compile("^Step 1 of"))
        expect(title).to_be_in_viewport(ratio=1)
        expect(page.locator("#stepper .instruction")).to_be_in_viewport(ratio=1)
        expect(page.locator(".registers .changed dt").first).to_have_text("sp")
        page.keyboard.press("ArrowLeft")
        expect(title).to_have_text(re.compile("^Step 0 of"))
        expect(page.locator("#stepper .instruction")).to_have_text(first)
        page.keyboard.press("End")
        expect(page.locator("#stepper .note")).to_contain_text("It loops.")
        expect(page.locator("#stepper .here")).to_contain_text("loop {}")
        loop = page.locator("#stepper .instruction").inner_text()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#stepper")).to_be_focused()
        expect(page.locator("#stepper .instruction")).to_have_text(loop)
        assert loop.startswith("b #0x")


@pytest.mark.usefixtures("bare_metal")
def test_without_scripts_each_step_is_a_page(browser: Browser, server: str) -> None:
    with learner(browser, server, scripts=False, width=360) as page:
        build(page, server)
        show(page, "binary")
        page.get_by_role("link", name="Step through it").click()
        expect(page.locator("h1")).to_have_text("Step through it")
        page.get_by_role("link", name="One step forward").click()
        expect(page).to_have_url(re.compile(r"/step\?at=1$"))
        expect(page.locator("#stepper-title")).to_have_text(re.compile("^Step 1 of"))
        page.get_by_role("link", name="One step back").click()
        expect(page.locator("#stepper-title")).to_have_text(re.compile("^Step 0 of"))
        page.wait_for_load_state()  # until then a style sheet may be missing
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_what_a_program_did_stands_below_its_output(browser: Browser, server: str) -> None:
    with learner(browser, server) as page:
        page.goto(f"{server}/lessons/hello-without-libc")
        page.locator("#command").fill("cargo run")
        page.get_by_role("button", name="Run", exact=True).click()
        seen = page.locator("#run-observed")
        expect(seen).to_contain_text("Killed by SIGSEGV", timeout=RUN_MS)
        expect(seen).to_contain_text("Its entry point returned.")
        expect(seen).to_contain_text("write")
        expect(page.locator("#run-terminal")).to_contain_text("Hello from a program that nobody helps!")


@pytest.mark.usefixtures("bare_metal")
def test_a_refusal_stands_where_it_was_asked_for(browser: Browser, server: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        states.solved(page, server, "boot-x86")
        show(page, "binary")
        page.get_by_role("link", name="Step through it").click()
        expect(page.locator("#stepper .problem")).to_contain_text("32-bit mode", timeout=RUN_MS)
        expect(page.locator("#problem")).to_be_empty()
        expect(page.get_by_role("link", name="Step through it")).to_be_focused()
