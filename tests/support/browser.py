"""A learner in headless Chromium."""

import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


class Wire:
    """A TCP proxy in front of a server, whose connections can be cut."""

    def __init__(self, server: str) -> None:
        self.redirect(server)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Close every open connection; new ones are still accepted."""
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends.clear()

    def redirect(self, server: str) -> None:
        """Forward new connections to another server."""
        self._to = ("127.0.0.1", urlsplit(server).port or 0)

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(self._to)
                except OSError:  # the server is down at the moment
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
