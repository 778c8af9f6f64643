"""The editor and the compiler's diagnostics in it, in headless Chromium with the real cargo."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import RUN_MS, area, learner, menu, show, type_files

UNUSED_MUT = 'fn main() {\n    let mut ünïcode = "ä"; let mut y = 2;\n    println!("{ünïcode} {y}");\n}\n'


@pytest.fixture
def page(browser: Browser, server: str) -> Iterator[Page]:
    with learner(browser, server) as page:
        page.goto(f"{server}/lessons/hello-std")
        expect(page.locator("form[data-ready]")).to_be_attached()
        yield page


def run(page: Page) -> None:
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#run:not([data-live]) .verdict, #run .verdict")).to_be_visible(timeout=RUN_MS)


def test_undo_reaches_back_past_a_run(page: Page) -> None:
    before = area(page).input_value()
    editor = page.get_by_role("textbox", name="src/main.rs")
    editor.click()
    page.keyboard.press("Control+Home")
    page.keyboard.type("// mine")
    run(page)
    assert area(page).input_value() == f"// mine{before}"
    editor.focus()
    page.keyboard.press("Control+z")
    expect(area(page)).to_have_value(before)


def test_the_compilers_fix_is_one_click_and_the_next_run_is_clean(page: Page) -> None:
    type_files(page, {"src/main.rs": UNUSED_MUT})
    run(page)
    expect(page.locator("#run-diagnostics li.warning")).to_have_count(2)
    expect(page.locator(".cm-lintRange-warning")).to_have_count(2)
    show(page, "messages")
    for _ in range(2):
        page.locator("[data-fix]:not([disabled])").first.click()
    assert area(page).input_value() == UNUSED_MUT.replace("mut ", "")
    expect(page.locator(".cm-lintRange")).to_have_count(0)
    run(page)
    expect(page.locator("#run-diagnostics li")).to_have_count(0)
    expect(page.locator("#run-status")).to_contain_text("Finished")


def test_applying_a_fix_by_key_puts_the_cursor_after_it(page: Page) -> None:
    type_files(page, {"src/main.rs": UNUSED_MUT})
    run(page)
    show(page, "messages")
    page.locator("[data-fix]").last.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("textbox", name="src/main.rs")).to_be_focused()
    page.keyboard.type("not_")
    assert area(page).input_value() == UNUSED_MUT.replace("mut y", "not_y")
    page.keyboard.press("Control+Z")
    page.keyboard.press("Control+Z")
    expect(area(page)).to_have_value(UNUSED_MUT)


def test_marks_go_with_the_next_edit_and_rustcs_words_stand_at_the_cursor(page: Page) -> None:
    type_files(page, {"src/main.rs": UNUSED_MUT})
    run(page)
    show(page, "messages")
    page.locator("#run-diagnostics .place a").first.click()
    expect(page.locator(".said:visible")).to_contain_text("warning: variable does not need to be mutable")
    expect(page.get_by_role("textbox", name="src/main.rs")).to_be_focused()
    page.locator(".cm-lintRange").first.hover()
    expect(page.locator(".cm-tooltip-lint")).to_contain_text("--> src/main.rs:2:9")
    page.keyboard.type("x")
    expect(page.locator(".cm-lintRange")).to_have_count(0)
    expect(page.locator(".said:visible")).to_have_count(0)
    expect(page.locator("[data-fix]:visible").first).to_be_disabled()


def test_marks_come_back_with_a_reload(page: Page) -> None:
    type_files(page, {"src/main.rs": UNUSED_MUT})
    run(page)
    page.reload()
    expect(page.locator(".cm-lintRange-warning")).to_have_count(2)
    show(page, "messages")
    page.locator("[data-fix]").first.click()
    assert area(page).input_value().count("mut ") == 1


def test_an_error_code_in_the_terminal_opens_what_the_compiler_says_of_it(page: Page, server: str) -> None:
    type_files(page, {"src/main.rs": 'fn main() {\n    let x: u8 = "two";\n}\n'})
    run(page)
    page.locator("#run-terminal a[data-file]").first.click()
    expect(page.get_by_role("textbox", name="src/main.rs")).to_be_focused()
    link = page.locator("#run-terminal a[data-explain]").first
    link.click()
    expect(page.get_by_role("dialog")).to_contain_text("Expected type did not match the received type")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.goto(f"{server}{link.get_attribute('href')}")
    expect(page.locator("h1")).to_have_text("E0308")


def test_escape_then_tab_leaves_the_editor(page: Page) -> None:
    editor = page.get_by_role("textbox", name="src/main.rs")
    editor.click()
    text = area(page).input_value()
    page.keyboard.press("Tab")
    assert area(page).input_value() != text, "Tab alone indents"
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    expect(editor).not_to_be_focused()


def test_vim_keys_and_the_size_are_kept_for_every_lesson(page: Page, server: str) -> None:
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url) if "vim" in request.url else None)
    page.reload()
    assert not loaded, "only whoever wants Vim's keys loads them"
    menu(page, "Settings")
    page.get_by_label("Vim keys").check()
    page.get_by_label("Text size").select_option("huge")
    page.goto(f"{server}/lessons/no-std")
    expect(page.locator("html[data-size=huge]")).to_be_attached()
    font = "name => parseFloat(getComputedStyle(document.querySelector(name)).fontSize)"
    assert page.evaluate(font, "#run-terminal") > 18, "the terminal's text follows"
    expect(page.locator(".cm-vimMode").first).to_be_attached()
    text = area(page).input_value()
    page.get_by_role("textbox", name="src/main.rs").click()
    page.keyboard.type("ggdd")
    expect(area(page)).to_have_value(text.split("\n", 1)[1])
    assert loaded


def test_a_linkers_command_unfolds_and_says_who_supplies_start(page: Page, server: str) -> None:
    page.goto(f"{server}/lessons/no-main")
    page.locator("#command").fill("cargo build")
    type_files(page, {"src/main.rs": NO_MAIN})
    run(page)
    expect(page.locator(".linker .supplies")).to_be_hidden()
    page.locator(".linker summary").click()
    expect(page.locator(".linker .supplies")).to_have_text(re.compile(r"Who supplies _start\?.*crt1\.o", re.DOTALL))
    expect(page.locator(".linker .parts dt").first).to_have_text("cc")


NO_MAIN = (
    "#![no_std]\n#![no_main]\n\nuse core::panic::PanicInfo;\n\n"
    "#[panic_handler]\nfn panic(_info: &PanicInfo) -> ! {\n    loop {}\n}\n"
)


def test_a_message_stands_beside_its_line_until_the_line_changes_or_it_is_switched_off(page: Page) -> None:
    type_files(page, {"src/main.rs": 'fn main() {\n    let x: u8 = "two";\n}\n'})
    run(page)
    line = page.locator(".cm-line[data-lens]")
    expect(line).to_have_attribute("data-lens", re.compile("mismatched types"))
    words = "line => getComputedStyle(line, '::after').content"
    assert "mismatched types" in line.evaluate(words)
    menu(page, "Settings")
    page.get_by_label("Messages beside their lines").uncheck()
    assert line.evaluate(words) == "none"
    page.keyboard.press("Escape")
    page.get_by_role("textbox", name="src/main.rs").focus()
    page.keyboard.type("x")
    expect(line).to_have_count(0)


def test_an_attribute_of_the_whole_crate_has_a_colour(page: Page) -> None:
    type_files(page, {"src/main.rs": "#![no_std]\n#[inline]\nfn f() {}\n"})
    expect(page.locator(".cm-line .tok-macro").first).to_have_text("#![no_std]")


def test_the_theme_is_kept_and_is_there_before_the_page_is_painted(page: Page, server: str) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    menu(page, "Settings")
    page.get_by_label("Theme").select_option("dark")
    dark = page.evaluate(ground)
    assert dark != light
    page.goto(f"{server}/glossary")
    assert page.evaluate(ground) == dark


def test_a_dot_leads_to_its_step_and_a_heading_to_itself(page: Page, server: str) -> None:
    dot = page.locator(".meter a").nth(3)
    expect(dot).to_have_attribute("title", re.compile(r"^4\. "))
    dot.click()
    expect(page).to_have_url(f"{server}/lessons/panic-handler")
    heading = page.locator(".prose h2").first
    heading.hover()
    heading.locator(".anchor").click()
    expect(page).to_have_url(re.compile(r"/lessons/panic-handler#[a-z-]+$"))


def test_what_cargo_fmt_proposes_is_shown_accepted_and_taken_back(page: Page) -> None:
    messy = 'fn main(){println!("x");}\n'
    type_files(page, {"src/main.rs": messy})
    page.locator("#command").fill("cargo fmt")
    page.locator("#command").press("Enter")
    edits = page.locator("#run-edits")
    expect(edits).to_contain_text("Nothing changes until you accept it", timeout=RUN_MS)
    expect(edits).to_be_visible()
    expect(area(page)).to_have_value(messy)
    page.get_by_role("button", name="Accept the changes").click()
    expect(area(page)).to_have_value('fn main() {\n    println!("x");\n}\n')
    page.get_by_role("button", name="Restore my text").click()
    expect(area(page)).to_have_value(messy)
