"""The workbench around the editor: drafts, tabs, keys, narrow pages, floods of output, server restarts."""

import re
import signal
import statistics
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from bench.pace import pace
from tests.support.browser import ENDLESS, RUN_MS, area, learner, type_files
from tests.support.environment import within
from tests.support.server import Server
from tests.support.wire import Wire

HERE, THERE = "fn main() {} // here\n", "fn main() {} // there\n"
FLOOD = """\
use std::{thread::sleep, time::Duration};

fn main() {
    for number in 0..50_000 {
        println!("~{number} \\x1b[32mgo\\x1b[0m");
        if number % 200 == 0 {
            sleep(Duration::from_millis(10));
        }
    }
}
"""
# Record, in milliseconds, how long the page draws nothing and how long a key press waits for its frame.
WATCH = """() => {
    window.gaps = [];
    window.waits = [];
    let last = performance.now();
    const draw = () => {
        const now = performance.now();
        gaps.push(now - last);
        last = now;
        requestAnimationFrame(draw);
    };
    requestAnimationFrame(draw);
    addEventListener("keydown", ({ timeStamp }) => {
        requestAnimationFrame(() => setTimeout(() => waits.push(performance.now() - timeStamp)));
    }, true);
}"""

# The times of a key press and of the frame that answers it.
ANSWER = """() => {
    addEventListener("keydown", ({ timeStamp }) => { window.pressed = timeStamp }, { capture: true, once: true });
    new MutationObserver((_, observer) => {
        observer.disconnect();
        requestAnimationFrame(() => setTimeout(() => { window.answered = performance.now() }));
    }).observe(document.getElementById("run-status"), { childList: true, subtree: true, characterData: true });
}"""
# Wait until a draft with these words is stored, or the page says that it is not.
KEPT = """(words) => new Promise((kept, lost) => {
    setTimeout(() => lost(new Error(`no draft with ${words}`)), 5000);
    const look = () => Object.values(localStorage).some((text) => text.includes(words)) ? kept() : setTimeout(look, 20);
    look();
})"""
# Name the draft as pages did that did not know the seat.
WITHOUT_SEAT = """() => {
    const [name] = Object.keys(localStorage).filter((key) => key.includes("draft"));
    localStorage.setItem(name.replace(/:[0-9a-f]+\\./, ":"), localStorage.getItem(name));
    localStorage.removeItem(name);
}"""
ONE_LINE = """\
use std::{io::{stdout, Write}, thread::sleep, time::Duration};

fn main() {
    for number in 0..1000 {
        print!("{}~{number} ", "x".repeat(10_000));
        stdout().flush().unwrap();
        sleep(Duration::from_millis(10));
    }
}
"""


def open_lesson(page: Page, server: str, slug: str = "hello-std") -> None:
    page.goto(f"{server}/lessons/{slug}")
    expect(page.locator("form[data-ready]")).to_be_attached()


@pytest.fixture
def page(browser: Browser, server: str) -> Iterator[Page]:
    with learner(browser, server) as page:
        open_lesson(page, server)
        yield page


def test_what_was_typed_and_not_run_survives_a_reload(page: Page) -> None:
    type_files(page, {"src/main.rs": HERE})
    page.reload()
    expect(area(page)).to_have_value(HERE)
    expect(page.locator("#draft")).to_be_empty()


def test_a_tab_whose_first_seat_the_browser_has_not_kept_keeps_its_draft(page: Page, server: str) -> None:
    type_files(page, {"src/main.rs": HERE})
    page.evaluate(KEPT, "// here")
    page.context.clear_cookies()  # another tab began at the same time, and its seat came last
    other = page.context.new_page()
    open_lesson(other, server)
    expect(area(other)).not_to_have_value(HERE)
    page.reload()
    expect(area(page)).to_have_value(HERE)


def test_a_draft_of_an_earlier_version_is_found(page: Page, server: str) -> None:
    type_files(page, {"src/main.rs": HERE})
    page.evaluate(KEPT, "// here")
    page.goto(server)
    page.evaluate(WITHOUT_SEAT)
    open_lesson(page, server)
    expect(area(page)).to_have_value(HERE)
    assert page.evaluate("Object.keys(localStorage).filter(key => key.includes('draft')).length") == 1


def test_two_tabs_do_not_fight(page: Page, server: str) -> None:
    start = area(page).input_value()
    other = page.context.new_page()
    open_lesson(other, server)
    type_files(other, {"src/main.rs": THERE})
    expect(page.locator("#draft")).to_contain_text("open in another tab")
    expect(area(page)).to_have_value(start)
    page.get_by_role("button", name="Use that text").click()
    expect(area(page)).to_have_value(THERE)
    page.get_by_role("button", name="Go back to mine").click()
    expect(area(page)).to_have_value(start)


def test_a_run_in_another_tab_is_offered_and_not_forced(page: Page, server: str) -> None:
    type_files(page, {"src/main.rs": HERE})
    page.evaluate(KEPT, "// here")
    other = page.context.new_page()
    open_lesson(other, server)
    expect(other.locator("#draft")).to_contain_text("different text")
    type_files(other, {"src/main.rs": THERE})
    other.get_by_role("button", name="Run", exact=True).click()
    expect(other.locator(".verdict")).to_be_visible(timeout=RUN_MS)
    page.reload()
    expect(area(page)).to_have_value(HERE)
    expect(page.locator("#draft")).to_contain_text("with a different text")
    page.get_by_role("button", name="Use that text").click()
    expect(area(page)).to_have_value(THERE)


def test_another_seat_in_this_browser_sees_no_draft_and_no_command(page: Page, server: str) -> None:
    page.reload()  # the seat is the browser's now
    start = area(page).input_value()
    page.locator("#command").fill("cargo check")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator(".verdict")).to_be_visible(timeout=RUN_MS)
    type_files(page, {"src/main.rs": HERE})
    page.evaluate(KEPT, "// here")
    own = page.context.cookies()
    page.context.clear_cookies()
    open_lesson(page, server)
    expect(area(page)).to_have_value(start)
    expect(page.locator("#draft")).to_be_empty()
    page.locator("#command").fill("")
    page.locator("#command").press("ArrowUp")
    expect(page.locator("#command")).to_have_value("")
    page.goto(server)
    page.get_by_text("Delete my data").click()
    page.get_by_role("button", name="Delete everything").click()
    expect(page.get_by_text("All data stored about you has been deleted.")).to_be_visible()
    page.context.clear_cookies()
    page.context.add_cookies([{"name": one["name"], "value": one["value"], "url": server} for one in own])
    open_lesson(page, server)
    expect(area(page)).to_have_value(HERE)
    page.locator("#command").fill("")
    page.locator("#command").press("ArrowUp")
    expect(page.locator("#command")).to_have_value("cargo check")


def test_deleting_the_stored_data_deletes_drafts(page: Page, server: str) -> None:
    type_files(page, {"src/main.rs": HERE})
    page.evaluate(KEPT, "// here")
    page.goto(server)
    page.get_by_text("Delete my data").click()
    page.get_by_role("button", name="Delete everything").click()
    expect(page.get_by_text("All data stored about you has been deleted.")).to_be_visible()
    assert page.evaluate("Object.keys(localStorage).filter(key => key.includes('draft'))") == []


def test_the_keys_do_what_their_list_says(page: Page, server: str) -> None:
    page.locator("h1").click()
    page.keyboard.press("?")
    keys = page.get_by_role("dialog")
    expect(keys).to_contain_text("next step")
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    expect(page.get_by_role("textbox", name="src/main.rs")).to_be_focused()
    page.keyboard.type("n")
    expect(page).to_have_url(f"{server}/lessons/hello-std")
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    page.locator("h1").click()
    page.keyboard.press("h")
    expect(page.locator(".hints li")).to_have_count(1)
    page.keyboard.press("o")
    page.keyboard.press("n")
    expect(page).to_have_url(f"{server}/lessons/no-std")


@pytest.mark.parametrize(
    ("program", "sign", "key"),
    [(ENDLESS, "line 1", "Control+."), (ENDLESS, "line 1", "Escape"), (FLOOD, "~4000 ", "Escape")],
    ids=["control", "escape", "in-a-flood"],
)
def test_a_key_cancels_and_is_answered_at_once(page: Page, program: str, sign: str, key: str) -> None:
    type_files(page, {"src/main.rs": program})
    page.locator("#command").fill("cargo run")
    page.keyboard.press("Control+Enter")
    page.locator("h1").click()
    expect(page.locator("#run-terminal")).to_contain_text(sign, timeout=RUN_MS)
    slowness = pace()
    page.evaluate(ANSWER)
    page.keyboard.press(key)
    expect(page.locator("#run-status")).to_have_text(re.compile("^Cancelled after"), timeout=RUN_MS)
    assert page.evaluate("answered - pressed") < 200 * max(slowness, pace())


def test_a_server_that_ends_in_the_middle_loses_nothing(browser: Browser, start_server: Callable[..., Server]) -> None:
    first = start_server()
    wire = Wire(first.url)
    try:
        with learner(browser, wire.url, outages=True) as page:
            open_lesson(page, wire.url)
            type_files(page, {"src/main.rs": ENDLESS})
            page.locator("#command").fill("cargo run")
            page.keyboard.press("Control+Enter")
            expect(page.locator("#run-terminal")).to_contain_text("line 1", timeout=RUN_MS)
            first.stop(signal.SIGKILL)  # asked to stop, it would still end the run and say so
            wire.cut()
            expect(page.locator("#problem")).to_contain_text("answering", timeout=RUN_MS)
            type_files(page, {"src/main.rs": HERE})
            second = start_server()
            wire.redirect(second.url)
            expect(page.locator("#run-status")).to_have_text("Lost: the server no longer has this run.", timeout=RUN_MS)
            expect(page.locator("#run-cancel button")).to_have_count(0)
            page.reload()
            expect(area(page)).to_have_value(HERE)
            page.get_by_role("button", name="Run", exact=True).click()
            expect(page.locator("#run-status")).to_contain_text("Finished", timeout=RUN_MS)
    finally:
        wire.close()


def test_a_flood_is_shown_up_to_its_bound_and_what_was_typed_meanwhile_stays(page: Page) -> None:
    type_files(page, {"src/main.rs": FLOOD})
    page.locator("#command").fill("cargo run")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#run-terminal")).to_contain_text("~0", timeout=RUN_MS)
    page.get_by_role("textbox", name="src/main.rs").click()
    slowness = pace()
    page.evaluate(WATCH)
    typed = 0
    while not page.locator(".verdict").count():
        page.keyboard.type("y")
        typed += 1
    expect(page.locator(".verdict")).to_be_visible(timeout=RUN_MS)
    gaps, waits = page.evaluate("[gaps, waits]")
    assert typed
    assert "y" * typed in area(page).input_value()
    # textContent includes text that is not drawn, unlike innerText.
    shown = re.findall(r"~(\d+) go\n", page.evaluate("document.getElementById('run-terminal').textContent"))
    everything = [str(number) for number in range(50_000)]
    assert len(shown) > 10_000
    assert shown == everything[: len(shown)]
    rest = page.request.get(page.get_by_role("link", name="Show the whole output").evaluate("link => link.href")).text()
    assert re.findall(r"~(\d+) go\n", rest) == everything
    slowness = max(slowness, pace())
    assert statistics.median(waits) < 100 * slowness, waits
    assert max(gaps) < 500 * slowness, sorted(gaps)[-9:]


def test_a_line_without_an_end_leaves_the_editor_its_keys(page: Page) -> None:
    """The line has ten megabytes, the most that a run may print."""
    type_files(page, {"src/main.rs": ONE_LINE})
    page.locator("#command").fill("cargo run")
    page.keyboard.press("Control+Enter")
    page.get_by_role("textbox", name="src/main.rs").click()
    expect(page.locator("#run-terminal")).to_contain_text("~1 ", timeout=RUN_MS)
    slowness = pace()
    page.evaluate(WATCH)
    while not page.locator(".verdict").count():
        page.keyboard.type("y")
    page.wait_for_timeout(500)
    gaps, waits = page.evaluate("[gaps, waits]")
    expect(page.locator("#run-status")).to_contain_text("it printed too much")
    print(f"{len(waits)} keys, median {statistics.median(waits):.0f} ms; longest gaps {sorted(gaps)[-5:]}")
    assert len(waits) > 5
    slowness = max(slowness, pace())
    assert statistics.median(waits) < 100 * slowness, waits
    assert max(gaps) < 500 * slowness, sorted(gaps)[-9:]


def test_the_terminal_follows_unless_the_reader_scrolls_up(page: Page) -> None:
    def below() -> float:
        """Return the distance from the visible part to the end, in pixels."""
        found = page.evaluate(
            """() => {
                const terminal = document.getElementById("run-output");
                return terminal.scrollHeight - terminal.scrollTop - terminal.clientHeight;
            }"""
        )
        return float(found)

    def at_the_end() -> bool:
        """Return True if the end scrolls into view; new output is followed one frame later."""
        began = time.monotonic()
        while (far := below() >= 60) and within(10, began):
            page.wait_for_timeout(20)
        return not far

    type_files(page, {"src/main.rs": ENDLESS.replace("from_millis(100)", "from_millis(10)")})
    page.locator("#command").fill("cargo run")
    page.keyboard.press("Control+Enter")
    terminal = page.locator("#run-terminal")
    expect(terminal).to_contain_text("line 100", timeout=RUN_MS)
    assert at_the_end()
    page.locator("#run-output").hover()
    page.mouse.wheel(0, -300)
    expect(terminal).to_contain_text("line 250", timeout=RUN_MS)
    seen = page.evaluate("document.getElementById('run-output').scrollTop")
    assert below() > 600
    expect(terminal).to_contain_text("line 300", timeout=RUN_MS)
    assert page.evaluate("document.getElementById('run-output').scrollTop") == seen
    page.mouse.wheel(0, 1_000_000)
    expect(terminal).to_contain_text("line 400", timeout=RUN_MS)
    assert at_the_end()
    page.get_by_role("button", name="Cancel").click()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_a_narrow_page_shows_one_thing_at_a_time(browser: Browser, server: str, scripts: bool) -> None:
    with learner(browser, server, scripts=scripts, width=360) as page:
        page.goto(f"{server}/lessons/hello-std")
        expect(page.locator(".prose")).to_be_visible()
        expect(page.locator(".files")).to_be_hidden()
        page.get_by_text("Code", exact=True).click()
        expect(page.locator(".files")).to_be_visible()
        expect(page.locator(".prose")).to_be_hidden()
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.locator(".verdict")).to_be_visible(timeout=RUN_MS)
        expect(page.locator(".files")).to_be_hidden()
        page.wait_for_load_state()
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0


def test_where_there_is_a_little_more_room_the_result_stands_below_the_code(browser: Browser, server: str) -> None:
    with learner(browser, server, width=820) as page:
        open_lesson(page, server)
        expect(page.locator(".files")).to_be_hidden()
        page.keyboard.press("Control+Enter")
        expect(page.locator(".verdict")).to_be_visible(timeout=RUN_MS)
        expect(page.locator(".prose")).to_be_hidden()
        page.get_by_text("Code", exact=True).click()
        expect(page.locator(".verdict")).to_be_visible()
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.locator("#run-verdict")).to_be_empty()
        expect(page.locator(".verdict")).to_be_visible(timeout=RUN_MS)
        expect(page.locator(".files")).to_be_visible()
