"""A learner in headless Chromium."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Locator, Page

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


def find_chromium() -> str | None:
    """Return the path of Chromium, or None if it is not installed.

    The headless shell is the same engine without windows. It takes less than half of the processor time for a page.
    """
    return shutil.which("chromium-headless-shell") or shutil.which("chromium")


@contextmanager
def learner(
    browser: Browser, server: str, *, scripts: bool = True, width: int = 1280, refusals: int = 0, outages: bool = False
) -> Iterator[Page]:
    """Open a page in a new browser context; at the end, fail on a console error or a request to another host.

    ``refusals`` is the number of 422 answers to expect, which Chromium logs as errors. With ``outages`` the connection
    is expected to fail, which Chromium and htmx log too.
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
    """The text area that holds a file's text; with scripts on, the editor covers it."""
    return page.locator(f'textarea[data-path="{path}"]')
