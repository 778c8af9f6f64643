"""Learner guidance in headless Chromium with the real cargo, with and without scripts."""

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from app.course.lesson import Lesson
from tests.support.browser import RUN_MS, area, learner, menu, show, type_files

both = pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
MINE = "#![no_std]\n\nfn main() {}\n// mine\n"


def run(page: Page) -> None:
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#run-verdict > *").first).to_be_visible(timeout=RUN_MS)


def answer(page: Page, text: str) -> None:
    page.locator(".options button", has_text=text).click()
    expect(page.locator("#run-prediction h2")).to_have_text("Your prediction")


@both
def test_a_prediction_is_made_with_one_click_and_stands_beside_the_outcome(
    browser: Browser, server: str, scripts: bool
) -> None:
    with learner(browser, server, scripts=scripts) as page:
        page.goto(f"{server}/lessons/hello-std")
        card = page.locator("#run-prediction")
        expect(card).to_contain_text("What must be on the machine for the executable to start?")
        answer(page, "Nothing but the executable")
        run(page)
        expect(card).to_contain_text("Not quite")
        expect(card).to_contain_text("the executable only names it.")
        expect(card).to_contain_text("The C library, and a program that loads it")
        page.reload()
        expect(card).to_contain_text("Not quite")


@both
def test_a_right_prediction_says_so(browser: Browser, server: str, scripts: bool) -> None:
    with learner(browser, server, scripts=scripts) as page:
        page.goto(f"{server}/lessons/hello-std")
        answer(page, "Nothing but the executable")
        page.get_by_text("Change my answer").click()
        answer(page, "The C library")
        run(page)
        expect(page.locator("#run-prediction h2")).to_have_text("You were right")


def test_the_question_can_be_ignored(browser: Browser, server: str) -> None:
    with learner(browser, server) as page:
        page.goto(f"{server}/lessons/no-main")
        run(page)
        expect(page.locator("#run-prediction")).to_be_empty()
        page.reload()
        expect(page.locator("#run-prediction")).to_be_empty()


def test_a_run_of_other_files_settles_nothing(browser: Browser, server: str, lessons: dict[str, Lesson]) -> None:
    with learner(browser, server) as page:
        page.goto(f"{server}/lessons/eh-personality")
        answer(page, "Yes: what was missing is there")
        type_files(page, {"src/main.rs": lessons["eh-personality"].solution["src/main.rs"]})
        run(page)
        expect(page.locator("#run-prediction")).to_contain_text("before you edited them")
        menu(page, "Reset")
        page.get_by_role("button", name="Discard my changes").click()
        expect(area(page)).to_have_value(lessons["eh-personality"].files["src/main.rs"])
        run(page)
        expect(page.locator("#run-prediction h2")).to_contain_text("Not quite")


@both
def test_hints_then_the_solution_by_hunks_and_back(browser: Browser, server: str, scripts: bool) -> None:
    with learner(browser, server, scripts=scripts) as page:
        page.goto(f"{server}/lessons/panic-handler")
        type_files(page, {"src/main.rs": MINE})
        for number in range(1, 5):
            page.get_by_role("button", name=re.compile("hint")).click()
            expect(page.locator(".hints li")).to_have_count(number)
        expect(page.get_by_role("button", name=re.compile("hint"))).to_have_count(0)
        page.get_by_role("button", name="Show solution").click()
        expect(page.locator("#solution .old")).to_contain_text("// mine")
        page.get_by_role("button", name="Apply this change").first.click()
        expect(area(page)).to_have_value(re.compile("panic_handler"))
        page.get_by_role("button", name="Restore my text").click()
        expect(area(page)).to_have_value(MINE)
        page.get_by_role("button", name="Redo").click()
        expect(area(page)).to_have_value(re.compile("panic_handler"))
        page.reload()
        expect(page.locator(".hints li")).to_have_count(4)
        expect(area(page)).to_have_value(re.compile("panic_handler"))


def test_the_focus_goes_to_what_has_come(browser: Browser, server: str) -> None:
    with learner(browser, server) as page:
        page.goto(f"{server}/lessons/panic-handler")
        page.get_by_role("button", name=re.compile("Show a hint")).focus()
        page.keyboard.press("Enter")
        expect(page.locator(".hints li")).to_be_focused()


def test_the_focus_goes_on_where_a_button_was_that_has_gone(browser: Browser, server: str) -> None:
    with learner(browser, server) as page:
        page.goto(f"{server}/lessons/panic-abort")
        page.get_by_role("button", name="Show solution").press("Enter")
        expect(page.locator("#solution")).to_be_focused()
        page.get_by_role("button", name="Apply this change").press("Enter")
        expect(page.locator("#solution")).to_contain_text("Your files match this solution.")
        expect(page.locator("#solution")).to_be_focused()
        page.get_by_role("button", name="Restore my text").press("Enter")
        expect(page.get_by_role("button", name="Redo")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Restore my text")).to_be_focused()


def test_enter_in_the_command_line_runs(browser: Browser, server: str) -> None:
    for scripts in (True, False):
        with learner(browser, server, scripts=scripts) as page:
            page.goto(f"{server}/lessons/no-main")
            page.locator("#command").press("Enter")
            expect(page.locator(".verdict")).to_be_visible(timeout=RUN_MS)
            expect(page.locator(".hints")).to_have_count(0)


@both
def test_a_reset_can_be_taken_back(browser: Browser, server: str, scripts: bool, lessons: dict[str, Lesson]) -> None:
    with learner(browser, server, scripts=scripts) as page:
        page.goto(f"{server}/lessons/empty-main")
        type_files(page, {"src/main.rs": MINE})
        menu(page, "Reset")
        page.get_by_role("button", name="Discard my changes").click()
        expect(area(page)).to_have_value(lessons["empty-main"].files["src/main.rs"])
        page.get_by_role("button", name="Restore my text").click()
        expect(area(page)).to_have_value(MINE)


@both
def test_what_changed_since_the_last_run(browser: Browser, server: str, scripts: bool) -> None:
    with learner(browser, server, scripts=scripts) as page:
        page.goto(f"{server}/lessons/empty-main")
        run(page)
        type_files(page, {"src/main.rs": MINE})
        menu(page, "Reset")
        page.get_by_role("button", name="Show changes").click()
        expect(page.locator("#changes .new").first).to_be_visible()
        expect(page.locator("#changes")).to_contain_text("// mine")
        expect(area(page)).to_have_value(MINE)
        run(page)
        expect(page.locator("#changes")).to_be_empty()


def test_two_tabs_lose_nothing_and_show_the_same_progress(browser: Browser, server: str) -> None:
    with learner(browser, server) as page:
        page.goto(f"{server}/lessons/hello-std")
        other = page.context.new_page()
        other.goto(f"{server}/lessons/hello-std")
        course = page.context.new_page()
        course.goto(server)
        first, second = "fn main() { /* one */ }\n", "fn main() { /* two */ }\n"
        type_files(page, {"src/main.rs": first})
        run(page)
        expect(other.locator(".count")).to_contain_text("1/", timeout=RUN_MS)
        expect(course.locator(".step.done")).to_have_count(1)
        type_files(other, {"src/main.rs": second})
        run(other)
        other.get_by_role("button", name="Restore my text").click()
        expect(area(other)).to_have_value(first)


@both
def test_the_meter_shows_the_binary_and_what_runs_before_it(browser: Browser, server: str, scripts: bool) -> None:
    with learner(browser, server, scripts=scripts) as page:
        page.goto(f"{server}/lessons/hello-std")
        meter = page.get_by_role("group", name="Your binary")
        expect(meter).to_have_text("Nothing built yet")
        run(page)
        expect(meter.get_by_role("button", name=re.compile("lang_start.$"))).to_be_visible()
        page.goto(f"{server}/lessons/no-std")
        expect(meter.locator(".size")).to_contain_text("KiB")
        type_files(page, {"src/main.rs": "#![no_std]\n\nfn main() {}\n"})
        run(page)
        expect(meter.locator("del")).to_have_text(["lang_start"] * 2)
        meter.get_by_role("button", name=re.compile("made no binary.*Gone: lang_start")).click()
        expect(meter.get_by_role("list").first).to_be_visible()
        expect(meter.get_by_role("link")).to_have_count(1)


def test_back_and_forward_keep_what_was_run(browser: Browser, server: str) -> None:
    with learner(browser, server) as page:
        page.goto(server)
        page.get_by_role("link", name=re.compile("A program with the standard library")).last.click()
        expect(page.locator("#bench[data-ready]")).to_have_count(1)
        type_files(page, {"src/main.rs": "fn main() { /* mine */ }\n"})
        run(page)
        page.get_by_role("link", name=re.compile("Next:")).click()
        expect(page.locator(".count")).to_contain_text("1/")
        page.go_back()
        expect(area(page)).to_have_value("fn main() { /* mine */ }\n")
        expect(page.locator(".verdict.reached")).to_be_visible()
        page.go_back()
        expect(page.locator(".step.done")).to_have_count(1)
        page.go_forward()
        expect(area(page)).to_have_value("fn main() { /* mine */ }\n")


def clipboard(page: Page) -> Any:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    return lambda: page.evaluate("navigator.clipboard.readText()")


def test_a_link_carries_the_files_and_replaces_nothing_unasked(browser: Browser, server: str) -> None:
    with learner(browser, server) as page:
        read = clipboard(page)
        page.goto(f"{server}/lessons/empty-main")
        type_files(page, {"src/main.rs": MINE})
        page.locator("#command").fill("cargo check")
        menu(page, "Share")
        page.get_by_role("button", name="Copy link to my files").click()
        expect(page.locator("[data-said]")).to_contain_text("clipboard")
        link = read()
        assert len(link) < 400
    with learner(browser, server) as page:
        page.goto(f"{server}/lessons/empty-main")
        theirs = area(page).input_value()
        page.goto(link)
        offer = page.locator("#brought")
        expect(offer).to_contain_text("src/main.rs, 4 lines")
        expect(area(page)).to_have_value(theirs)
        page.get_by_role("button", name="Keep mine").click()
        expect(offer).to_be_hidden()
        assert "#" not in page.url
        page.goto(link)
        page.get_by_role("button", name="Open them").click()
        expect(area(page)).to_have_value(MINE)
        expect(offer).to_be_hidden()
        expect(page.locator("#command")).to_have_value("cargo check")
        page.reload()
        expect(area(page)).to_have_value(MINE)
        page.get_by_role("button", name="Restore my text").click()
        expect(area(page)).to_have_value(theirs)


@pytest.mark.parametrize("broken", ["%%%", "e30", "A" * 20_000], ids=["not base64", "not deflated", "too long"])
def test_a_damaged_link_is_reported(browser: Browser, server: str, broken: str) -> None:
    with learner(browser, server) as page:
        page.goto(f"{server}/lessons/empty-main#crate={broken}")
        expect(page.locator("[data-said]")).to_contain_text("damaged")
        expect(page.locator("#brought")).to_be_hidden()


@both
def test_the_crate_is_taken_along(browser: Browser, server: str, scripts: bool) -> None:
    with learner(browser, server, scripts=scripts) as page:
        page.goto(f"{server}/lessons/empty-main")
        type_files(page, {"src/main.rs": MINE})
        menu(page, "Share")
        with page.expect_download() as download:
            page.get_by_role("button", name="Download zip").click()
        assert download.value.suggested_filename == "empty-main.zip"
        script = page.get_by_role("button", name="Copy shell script")
        if scripts:
            read = clipboard(page)
            script.click()
            expect(page.locator("[data-said]")).to_contain_text("clipboard")
            assert MINE in read()
        else:
            with page.expect_download() as download:
                script.click()
            assert MINE in download.value.path().read_text()
        expect(area(page)).to_have_value(MINE)


def test_a_handout_has_the_text_the_files_and_the_result_and_no_controls(browser: Browser, server: str) -> None:
    with learner(browser, server) as page:
        page.goto(f"{server}/lessons/empty-main")
        run(page)
        type_files(page, {"src/main.rs": MINE})
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        for shown in ("h1", ".goal", "#run-terminal", ".verdict"):
            expect(page.locator(shown).first).to_be_visible()
        expect(page.locator(".handout")).to_contain_text("// mine")
        assert page.locator("button:visible, input:visible, textarea:visible, .top:visible").count() == 0


@pytest.mark.parametrize("width", [1280, 360])
def test_what_the_text_offers_to_try_leaves_the_rest_of_the_crate(browser: Browser, server: str, width: int) -> None:
    """Offered code switches to edition 2024; the compiler's suggestion then fixes the attribute."""
    with learner(browser, server, width=width) as page:
        page.goto(f"{server}/lessons/entry-point")
        if width < 1000:
            page.get_by_text("Code", exact=True).click()
        start = area(page).input_value()
        mine = f'{start}\n#[no_mangle]\npub extern "C" fn _start() -> ! {{\n    loop {{}} // mine\n}}\n'
        type_files(page, {"src/main.rs": mine})
        if width < 1000:
            page.get_by_text("Text", exact=True).click()
        page.get_by_role("button", name="Write edition 2024").click()
        expect(page.get_by_role("textbox", name="Cargo.toml")).to_contain_text('edition = "2024"')
        assert page.evaluate("document.activeElement !== document.body")
        run(page)
        expect(page.locator("#run-diagnostics")).to_contain_text("unsafe attribute used without unsafe")
        show(page, "messages")
        page.get_by_role("button", name="Apply", exact=True).click()
        expect(area(page)).to_have_value(mine.replace("#[no_mangle]", "#[unsafe(no_mangle)]"))
        run(page)
        expect(page.locator(".verdict.reached")).to_be_visible(timeout=RUN_MS)
        if width < 1000:
            page.get_by_text("Code", exact=True).click()
        page.get_by_role("button", name="Restore my text").click()
        expect(area(page, "Cargo.toml")).to_have_value(re.compile("2021"))
