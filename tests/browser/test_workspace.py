"""The workspace: on a wide window nothing but the text has to be scrolled to see what a run answers."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

from app.course import Course, Lesson
from app.toolchain import EMULATORS, Toolchain, missing_tools
from tests.support import states
from tests.support.browser import RUN_MS, area, learner, menu, offered, show, type_files
from tests.support.environment import EVERYTHING

BENCH = ("#bench .files", "#command", "#run-output")
# The first line that says `error`, below the command of the latest run, and the box of the terminal.
FIRST = """() => {
    const output = document.getElementById("run-output").getBoundingClientRect();
    const terminal = document.getElementById("run-terminal");
    const words = document.createTreeWalker(terminal, NodeFilter.SHOW_TEXT);
    let first = null;
    for (let text = words.nextNode(); text && !first; text = words.nextNode()) {
        const at = text.data.search(/(^|\\n)error(\\b|\\[)/);
        if (at >= 0) first = [text, text.data[at] === "\\n" ? at + 1 : at];
    }
    const prompt = document.getElementById("run-command").getBoundingClientRect();
    if (!first) return { error: false, top: prompt.top, bottom: prompt.bottom, within: [output.top, output.bottom] };
    const range = document.createRange();
    range.setStart(...first);
    range.setEnd(first[0], first[1] + 5);
    const line = range.getBoundingClientRect();
    return { error: true, top: line.top, bottom: line.bottom, within: [output.top, output.bottom] };
}"""


@contextmanager
def window(browser: Browser, server: str, width: int, height: int) -> Iterator[Page]:
    with learner(browser, server) as page:
        page.set_viewport_size({"width": width, "height": height})
        yield page


@contextmanager
def a_run(page: Page) -> Iterator[None]:
    """Wait for the verdict of the run that the block starts."""
    page.locator("#run").evaluate("run => { run.dataset.before = '' }")
    yield
    expect(page.locator("#run:not([data-before]) #run-verdict > *")).to_have_count(1, timeout=2 * RUN_MS)
    page.wait_for_timeout(200)  # the terminal is scrolled a few pictures later


@pytest.fixture(scope="module")
def steps(taught: Course, toolchains: tuple[Toolchain, ...]) -> list[Lesson]:
    """Every step, all of which can be built here."""
    steps = [*taught.lessons]
    missing = {step.target for step in steps if not any(each.can_build(step.target) for each in toolchains)}
    if missing or missing_tools(EMULATORS):
        pytest.skip("not every step can be run here; playground setup --all makes them ready")
    return steps


def chosen(steps: Sequence[Lesson]) -> Iterator[tuple[Lesson, tuple[str, ...]]]:
    """Yield each step with the commands to run: its first one and the first of each kind, or with TEST_ALL all."""
    kinds = set()
    for step in steps:
        commands: list[str] = []
        for command in step.commands:
            program, _, more = command.partition(" ")
            kind = (program, more.partition(" ")[0] if program in ("cargo", "rustc", "rustup") else "")
            if EVERYTHING or not commands or kind not in kinds:
                commands.append(command)
            kinds.add(kind)
        yield step, tuple(commands)


def test_the_first_line_that_matters_is_in_view_after_offered_commands(
    browser: Browser, server: str, steps: list[Lesson]
) -> None:
    """With the files as they are first, as a learner who follows the text leaves them then."""
    hidden = []
    with window(browser, server, 1280, 720) as page:
        for step, commands in chosen(steps):
            page.goto(f"{server}/lessons/{step.slug}")
            expect(page.locator("form[data-ready]")).to_be_attached()
            type_files(page, {path: text for path, text in step.solution.items() if text != step.files[path]})
            for command in commands:
                page.locator(".offers > summary").click()
                with a_run(page):
                    page.locator(".offered button", has_text=re.compile(f"^{re.escape(command)}$")).click()
                seen = page.evaluate(FIRST)
                top, bottom = seen["within"]
                shown = page.locator("#run-output").is_visible()
                if shown and not (top - 1 <= seen["top"] and seen["bottom"] <= bottom + 1 <= 721):
                    hidden.append((step.slug, command, seen))
                for part in BENCH[:2]:
                    expect(page.locator(part).first).to_be_in_viewport(ratio=0.9)
    assert hidden == []


@pytest.mark.parametrize(("width", "height"), [(1024, 768), (1280, 720), (1920, 1080)])
def test_text_editor_command_and_terminal_are_in_view_at_once(
    browser: Browser, server: str, width: int, height: int
) -> None:
    with window(browser, server, width, height) as page:
        page.goto(f"{server}/lessons/panic-handler")
        with a_run(page):
            page.locator("[data-run]").click()
        page.locator(".reading").evaluate("text => text.scrollTop = text.scrollHeight")
        for part in BENCH:
            expect(page.locator(part)).to_be_in_viewport(ratio=1)
        assert page.evaluate("document.documentElement.scrollHeight") <= height
        assert page.locator("#run-output").evaluate("output => output.clientHeight") >= 100


def test_a_long_result_does_not_make_the_page_longer(browser: Browser, server: str) -> None:
    with window(browser, server, 1280, 720) as page:
        states.stepped(page, server)
        page.locator("#stepper").evaluate("stepper => stepper.scrollIntoView()")
        assert page.evaluate("[document.documentElement.scrollTop, document.documentElement.scrollHeight]") == [0, 720]


def test_a_divider_is_moved_by_mouse_and_keys_and_stays(browser: Browser, server: str) -> None:
    with window(browser, server, 1280, 720) as page:
        page.goto(f"{server}/lessons/panic-handler")
        expect(page.locator("form[data-ready]")).to_be_attached()

        def size(part: str, side: str) -> float:
            return float(page.locator(part).evaluate("(part, side) => part.getBoundingClientRect()[side]", side))

        text, editor = size(".reading", "width"), size("#bench", "height")
        upright, level = page.locator("[data-divider=text]"), page.locator("[data-divider=editor]")
        box = upright.bounding_box()
        assert box
        page.mouse.move(box["x"] + 3, 300)
        page.mouse.down()
        page.mouse.move(box["x"] + 103, 300, steps=3)
        page.mouse.up()
        assert size(".reading", "width") == pytest.approx(text + 100, abs=8)
        level.focus()
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowUp")
        assert size("#bench", "height") < editor
        moved = [size(".reading", "width"), size("#bench", "height")]
        page.goto(f"{server}/lessons/no-main")
        expect(page.locator("form[data-ready]")).to_be_attached()
        assert [size(".reading", "width"), size("#bench", "height")] == pytest.approx(moved, abs=1)
        upright.dblclick()
        level.focus()
        page.keyboard.press("Enter")
        assert [size(".reading", "width"), size("#bench", "height")] == pytest.approx([text, editor], abs=1)


def test_the_terminal_keeps_the_runs_of_the_step(browser: Browser, server: str) -> None:
    with window(browser, server, 1280, 720) as page:
        page.goto(f"{server}/lessons/hello-std")
        with a_run(page):
            offered(page, "cargo build")
        with a_run(page):
            offered(page, "cargo run")
        past = page.locator("#run-past .past-run")
        expect(past).to_have_count(1)
        expect(past).to_contain_text("$ cargo build")
        expect(page.locator("#run-terminal")).to_contain_text("Hello")
        expect(page.locator("#run-past")).not_to_contain_text("Hello")


def test_arrow_keys_recall_what_was_run(browser: Browser, server: str) -> None:
    with window(browser, server, 1280, 720) as page:
        page.goto(f"{server}/lessons/hello-std")
        line = page.locator("#command")
        for command in ("cargo check", "cargo build"):
            line.fill(command)
            with a_run(page):
                line.press("Enter")
        line.fill("cargo r")
        line.press("ArrowUp")
        expect(line).to_have_value("cargo build")
        line.press("ArrowUp")
        expect(line).to_have_value("cargo check")
        line.press("ArrowDown")
        line.press("ArrowDown")
        expect(line).to_have_value("cargo r")


def test_a_long_command_is_seen_to_its_end(browser: Browser, server: str) -> None:
    for width in (390, 1280):
        with window(browser, server, width, 844) as page:
            page.goto(f"{server}/lessons/windows-linker-arguments")
            if width < 1000:
                page.locator("label[for=view-code]").click()
            line = page.locator("#command")
            expect(line).to_have_js_property("tagName", "TEXTAREA")
            assert line.evaluate(
                "line => line.scrollHeight <= line.clientHeight + 2 && line.scrollWidth <= line.clientWidth"
            )


def test_a_verdict_is_one_line_that_unfolds(browser: Browser, server: str) -> None:
    with window(browser, server, 1280, 720) as page:
        page.goto(f"{server}/lessons/hello-std")
        with a_run(page):
            page.locator("[data-run]").click()
        verdict = page.locator(".verdict")
        box = verdict.bounding_box()
        assert box
        assert box["height"] < 50
        expect(page.locator(".checks")).to_be_hidden()
        verdict.locator("summary").click()
        expect(page.locator(".checks")).to_be_visible()
        expect(page.locator("#run-output")).to_be_in_viewport(ratio=1)


def test_the_panes_are_one_click_away_and_a_screen_opens_by_itself(browser: Browser, server: str) -> None:
    with window(browser, server, 1280, 720) as page:
        page.goto(f"{server}/lessons/panic-handler")
        expect(page.locator("#run-prediction")).to_be_visible()
        expect(page.locator("label[for=pane-binary]")).to_be_hidden()
        with a_run(page):
            page.locator("[data-run]").click()
        show(page, "messages")
        expect(page.locator("#run-diagnostics")).to_be_visible()
        expect(page.locator("#run-output")).to_be_hidden()
        menu(page, "Reset")
        page.get_by_role("button", name="Show changes").click()
        expect(page.locator("#changes")).to_be_visible()
        page.goto(f"{server}/lessons/vga-text")
        with a_run(page):
            page.locator("[data-run]").click()
        expect(page.locator(".vga")).to_be_in_viewport()


def test_a_menu_closes_on_escape_and_on_a_click_elsewhere(browser: Browser, server: str) -> None:
    with window(browser, server, 1280, 720) as page:
        page.goto(f"{server}/lessons/hello-std")
        expect(page.locator("form[data-ready]")).to_be_attached()
        text = area(page).input_value()
        menu(page, "Settings")
        page.keyboard.press("Escape")
        expect(page.locator(".menu[open]")).to_have_count(0)
        menu(page, "Settings")
        menu(page, "Share")
        expect(page.locator(".menu[open]")).to_have_count(1)
        page.locator("h1").click()
        expect(page.locator(".menu[open]")).to_have_count(0)
        expect(area(page)).to_have_value(text)
