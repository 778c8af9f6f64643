"""A learner's way through the course in headless Chromium, on a real server with the real cargo."""

import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from app.course.lessons import Lesson
from app.toolchain import EMULATORS, Toolchain, missing_tools

RUN_MS = 30_000
ENDLESS = """\
use std::{thread::sleep, time::Duration};

fn main() {
    for number in 0.. {
        println!("line {number}");
        sleep(Duration::from_millis(100));
    }
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("no chromium here; apt-get install chromium")
    with sync_playwright() as playwright:
        # No sandbox: as root, which a container's user is, Chromium does not start with one.
        started = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield started
        started.close()


@contextmanager
def learner(
    browser: Browser, server: str, *, scripts: bool = True, width: int = 1280, refusals: int = 0, outages: bool = False
) -> Iterator[Page]:
    """A browser of its own; at its end there must have been no error and no request to another host.

    ``refusals``: so many answers were to be a refusal, which Chromium notes on its console. ``outages``: the
    connection was to fail, which it and htmx note too.
    """
    context = browser.new_context(java_script_enabled=scripts, viewport={"width": width, "height": 900})
    page = context.new_page()
    errors: list[str] = []
    hosts: set[str] = set()
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    try:
        yield page
    finally:
        context.close()
    refused = [error for error in errors if "status of 422" in error]
    assert len(refused) == refusals, errors
    assert outages or errors == refused
    assert hosts == {urlsplit(server).netloc}


class Wire:
    """A TCP connection to the server that can be cut; it forwards bytes and knows nothing else."""

    def __init__(self, server: str) -> None:
        self._to = ("127.0.0.1", urlsplit(server).port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection there is; new ones are served."""
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends.clear()

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(self._to)
                except OSError:  # there is no server just now
                    near.close()
                    continue
                self._ends += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=(one, other), daemon=True).start()

    def _forward(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while piece := one.recv(65536):
                other.sendall(piece)
            other.shutdown(socket.SHUT_WR)


@pytest.fixture
def wire(server: str) -> Iterator[Wire]:
    made = Wire(server)
    yield made
    made.close()


def lines(page: Page) -> list[int]:
    """The numbers that ``ENDLESS`` has printed."""
    return [int(number) for number in re.findall(r"line (\d+)", page.locator("#run-terminal").inner_text())]


def type_files(page: Page, texts: dict[str, str]) -> None:
    for path, text in texts.items():
        page.locator(".tab + label", has_text=re.compile(f"^{re.escape(path)}")).click()
        page.get_by_role("textbox", name=path, exact=True).fill(text)


def show(page: Page, pane: str) -> None:
    """Bring a pane of the results to the front by its tab."""
    page.locator(f"label[for=pane-{pane}]").click()


def menu(page: Page, name: str) -> None:
    """Open one of the menus below the command line."""
    page.locator(".tools .menu > summary", has_text=name).click()


def offered(page: Page, text: str) -> None:
    """Run the first of the step's own commands that has this text."""
    page.locator(".offers > summary").click()
    page.locator(".offered button", has_text=text).first.click()


def area(page: Page, path: str = "src/main.rs") -> Locator:
    """The field of the form that holds a file's text; where scripts run an editor stands before it."""
    return page.locator(f'textarea[data-path="{path}"]')


def answer_of(lesson: Lesson) -> dict[str, str]:
    """What a learner who knows the answer types."""
    return {path: text for path, text in lesson.solution.items() if text != lesson.files[path]}


def reach(page: Page, lesson: Lesson) -> None:
    expect(page.locator("h1")).to_have_text(lesson.title.replace("`", ""))
    type_files(page, answer_of(lesson))
    expect(page.locator("#command")).to_have_value(lesson.commands[0])
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator(".verdict")).to_be_visible(timeout=RUN_MS)
    expect(page.locator(".verdict.reached"), page.locator("#run").inner_text()).to_have_count(1)


@pytest.mark.usefixtures("bare_metal")
def test_what_was_built_can_be_looked_into(browser: Browser, server: str, lessons: dict[str, Lesson]) -> None:
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
def test_the_same_with_scripts_off(browser: Browser, server: str, lessons: dict[str, Lesson]) -> None:
    with learner(browser, server, scripts=False) as page:
        page.goto(f"{server}/lessons/bare-metal")
        reach(page, lessons["bare-metal"])
        show(page, "binary")
        page.get_by_role("link", name="Look inside").click()
        expect(page.get_by_role("heading", name="Who runs before main")).to_be_visible()
        page.get_by_role("link", name="Back to the step").click()
        expect(page).to_have_url(re.compile("/lessons/bare-metal$"))


def test_output_comes_as_it_is_printed_and_cancel_ends_it(browser: Browser, server: str) -> None:
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
        other.goto(f"{server}/lessons/hello-std")
        expect(other.locator("#run-elapsed")).to_have_text(re.compile(r"\d s$"), timeout=RUN_MS)
        seconds = [float(tab.locator("#run-elapsed").inner_text().split()[0]) for tab in (page, other)]
        assert 0.9 < seconds[0] <= seconds[1] + 0.2, seconds
        other.close()
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".verdict")).to_be_visible()
        assert lines(page) == list(range(len(lines(page))))
        page.reload()
        expect(page.locator(".verdict")).to_contain_text("Cancelled")
        assert "line 9" in terminal.inner_text()


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


def test_a_new_run_takes_the_place_of_one_that_goes_on(browser: Browser, server: str) -> None:
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
def test_a_refused_command_keeps_all_that_was_typed(browser: Browser, server: str, scripts: bool) -> None:
    with learner(browser, server, scripts=scripts, refusals=1) as page:
        page.goto(f"{server}/lessons/hello-std")
        type_files(page, {"src/main.rs": "// typed\n"})
        page.locator("#command").fill("make me a sandwich")
        page.keyboard.press("Enter")
        expect(page.locator("#problem")).to_contain_text("make")
        expect(page.locator("#command")).to_have_value("make me a sandwich")
        expect(area(page)).to_have_value("// typed\n")
        expect(page.locator("#run-status")).to_have_text("Nothing has run yet.")


def test_all_that_is_stored_can_be_deleted(browser: Browser, server: str) -> None:
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
