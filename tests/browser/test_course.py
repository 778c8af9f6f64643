"""Runs in headless Chromium, on a real server with the real cargo: streaming, cancelling, reloading."""

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from app.course.lesson import Lesson
from bench.pace import pace
from tests.support.browser import ENDLESS, RUN_MS, area, learner, offered, show, type_files
from tests.support.wire import Wire


def lines(page: Page) -> list[int]:
    """Return the numbers that ``ENDLESS`` has printed."""
    return [int(number) for number in re.findall(r"line (\d+)", page.locator("#run-terminal").inner_text())]


def answer_of(lesson: Lesson) -> dict[str, str]:
    """Return the solution's texts for the files that differ from the start."""
    return {path: text for path, text in lesson.solution.items() if text != lesson.files[path]}


def reach(page: Page, lesson: Lesson) -> None:
    expect(page.locator("h1")).to_have_text(lesson.title.replace("`", ""))
    type_files(page, answer_of(lesson))
    expect(page.locator("#command")).to_have_value(lesson.first_command)
    page.locator("#command").fill(lesson.commands[0])
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator(".verdict")).to_be_visible(timeout=RUN_MS)
    expect(page.locator(".verdict.reached"), page.locator("#run").inner_text()).to_have_count(1)


@pytest.mark.usefixtures("bare_metal")
def test_an_artifact_can_be_inspected(browser: Browser, server: str, lessons: dict[str, Lesson]) -> None:
    with learner(browser, server) as page:
        for slug in ("hello-std", "bare-metal"):
            page.goto(f"{server}/lessons/{slug}")
            reach(page, lessons[slug])
        show(page, "binary")
        card = page.locator("#run-artifact")
        expect(card).to_contain_text("Nothing. The first instruction is the first of _start")
        expect(card.get_by_role("img", name="machine code:")).to_be_visible()
        expect(card.get_by_role("heading", name="Since your build in")).to_be_visible()
        offered(page, "readelf")
        expect(page.locator("#run-terminal")).to_contain_text("ELF Header", timeout=RUN_MS)
        expect(page.locator("#command")).to_have_value(re.compile("^readelf"))


@pytest.mark.usefixtures("bare_metal")
def test_an_artifact_can_be_inspected_without_scripts(
    browser: Browser, server: str, lessons: dict[str, Lesson]
) -> None:
    with learner(browser, server, scripts=False) as page:
        page.goto(f"{server}/lessons/bare-metal")
        reach(page, lessons["bare-metal"])
        show(page, "binary")
        page.get_by_role("link", name="Look inside").click()
        expect(page.get_by_role("heading", name="Who runs before main")).to_be_visible()
        page.get_by_role("link", name="Back to the step").click()
        expect(page).to_have_url(re.compile("/lessons/bare-metal$"))


def test_output_streams_and_cancel_ends_it(browser: Browser, server: str) -> None:
    with learner(browser, server) as page:
        page.goto(f"{server}/lessons/hello-std")
        type_files(page, {"src/main.rs": ENDLESS})
        page.locator("#command").fill("cargo run")
        page.keyboard.press("Control+Enter")
        terminal = page.locator("#run-terminal")
        expect(terminal).to_contain_text("line 3", timeout=RUN_MS)
        expect(page.locator("#run-elapsed")).to_have_text(re.compile(r"^\d+\.\d s$"))
        expect(page.locator(".verdict")).to_have_count(0)
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#run-status")).to_have_text(re.compile("^Cancelled after"))
        expect(page.locator(".verdict")).to_contain_text("Cancelled")
        expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
        shown = terminal.inner_text()
        assert shown.count("line 3\n") == 1, shown


def test_a_reload_attaches_to_the_run_without_loss_or_repetition(browser: Browser, server: str) -> None:
    with learner(browser, server) as page:
        page.goto(f"{server}/lessons/hello-std")
        type_files(page, {"src/main.rs": ENDLESS})
        page.locator("#command").fill("cargo run")
        page.get_by_role("button", name="Run", exact=True).click()
        terminal = page.locator("#run-terminal")
        expect(terminal).to_contain_text("line 2", timeout=RUN_MS)
        page.reload()
        expect(area(page)).to_have_value(ENDLESS)
        expect(terminal).to_contain_text("line 9", timeout=RUN_MS)
        other = page.context.new_page()
        other.route("**/static/vendor/*.js", one_by_one([]))
        other.goto(f"{server}/lessons/hello-std")
        expect(other.locator("#run-elapsed")).to_have_text(re.compile(r"\d s$"), timeout=RUN_MS)
        seconds = [float(tab.locator("#run-elapsed").inner_text().split()[0]) for tab in (page, other, page)]
        # A clock that began with the page would show less in the second tab, which has only just been opened.
        assert min(seconds) > 0.9, "counted from the run's start, not from the page's"
        slack = pace()  # a busy machine draws the second tab later
        assert seconds[0] - slack < seconds[1] < seconds[2] + slack, seconds
        other.close()
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".verdict")).to_be_visible()
        assert lines(page) == list(range(len(lines(page))))
        page.reload()
        expect(page.locator(".verdict")).to_contain_text("Cancelled")
        assert "line 9" in terminal.inner_text()


def one_by_one(come: list[str]) -> Callable[[Route], None]:
    """Return a handler that lets a script come half a second after the one before it.

    htmx processes the page soon after its own script has run. What an extension adds to it must be there by then.
    """

    def handle(route: Route) -> None:
        if come:
            time.sleep(0.5)
        come.append(route.request.url)
        route.continue_()

    return handle


def test_a_lost_connection_is_taken_up_where_it_broke(browser: Browser, wire: Wire) -> None:
    with learner(browser, wire.url, outages=True) as page:
        page.goto(f"{wire.url}/lessons/hello-std")
        type_files(page, {"src/main.rs": ENDLESS})
        page.locator("#command").fill("cargo run")
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.locator("#run-terminal")).to_contain_text("line 3", timeout=RUN_MS)
        wire.cut()
        expect(page.locator("#problem")).to_contain_text("answering")
        expect(page.locator("#problem")).to_be_empty(timeout=RUN_MS)
        expect(page.locator("#run-terminal")).to_contain_text("line 20", timeout=RUN_MS)
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".verdict")).to_be_visible()
        assert lines(page) == list(range(len(lines(page))))


def test_a_stream_whose_first_request_fails_is_asked_for_again(browser: Browser, server: str) -> None:
    failures = ["no connection", "no gateway"]

    def fail(route: Route) -> None:
        if not failures:
            route.continue_()
        elif failures.pop() == "no gateway":
            route.fulfill(status=502, content_type="text/html", body="<h1>Bad gateway</h1>")
        else:
            route.abort()

    with learner(browser, server, outages=True) as page:
        page.goto(f"{server}/lessons/hello-std")
        page.route("**/runs/*/events", fail)
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.locator("#problem")).to_contain_text("answering")
        expect(page.locator(".verdict")).to_be_visible(timeout=RUN_MS)
        expect(page.locator("#problem")).to_be_empty()
        assert failures == []


def test_a_cancel_that_did_not_arrive_can_be_given_again(browser: Browser, server: str) -> None:
    with learner(browser, server, outages=True) as page:
        page.goto(f"{server}/lessons/hello-std")
        type_files(page, {"src/main.rs": ENDLESS})
        page.locator("#command").fill("cargo run")
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.locator("#run-terminal")).to_contain_text("line 1", timeout=RUN_MS)
        page.context.set_offline(True)
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#problem")).to_contain_text("answering")
        page.context.set_offline(False)
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".verdict")).to_contain_text("Cancelled", timeout=RUN_MS)


def test_a_new_run_replaces_one_in_progress(browser: Browser, server: str) -> None:
    with learner(browser, server) as page:
        page.goto(f"{server}/lessons/hello-std")
        type_files(page, {"src/main.rs": ENDLESS})
        page.locator("#command").fill("cargo run")
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.locator("#run-terminal")).to_contain_text("line 1", timeout=RUN_MS)
        offered(page, "cargo build")
        expect(page.locator(".verdict.reached")).to_be_visible(timeout=RUN_MS)
        expect(page.locator("#run-terminal")).not_to_contain_text("line")
        expect(page.locator("#run")).to_have_count(1)


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_a_refused_command_keeps_the_typed_text(browser: Browser, server: str, scripts: bool) -> None:
    with learner(browser, server, scripts=scripts, refusals=1) as page:
        page.goto(f"{server}/lessons/hello-std")
        type_files(page, {"src/main.rs": "// typed\n"})
        page.locator("#command").fill("make me a sandwich")
        page.keyboard.press("Enter")
        expect(page.locator("#problem")).to_contain_text("cargo build")
        expect(page.locator("#command")).to_have_value("make me a sandwich")
        expect(area(page)).to_have_value("// typed\n")
        expect(page.locator("#run-status")).to_have_text("Nothing has run yet.")


def test_the_stored_data_can_be_deleted(browser: Browser, server: str) -> None:
    with learner(browser, server, scripts=False) as page:
        page.goto(f"{server}/lessons/hello-std")
        type_files(page, {"src/main.rs": "fn main() {} // mine\n"})
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.locator(".verdict.reached")).to_be_visible(timeout=RUN_MS)
        page.goto(server)
        expect(page.locator(".step.done")).to_have_count(1)
        page.get_by_text("Delete my data").click()
        page.get_by_role("button", name="Delete everything").click()
        expect(page.locator(".step.done")).to_have_count(0)
        page.goto(f"{server}/lessons/hello-std")
        expect(area(page)).not_to_have_value(re.compile("mine"))
