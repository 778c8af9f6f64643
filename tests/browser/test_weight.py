"""What a lesson weighs on its way to the browser, and how long it takes until one can type."""

from playwright.sync_api import Browser, CDPSession, Page, expect

from app.lessons import Lesson
from tests.browser.test_course import browser

__all__ = ["browser"]

FIRST, NEXT = 250_000, 25_000
"""The bytes that a first lesson may take, and the one after it, compressed, with headers."""
PATIENCE_MS = 3000
"""Of a slow and busy machine."""


class Load:
    """What comes to a page, counted by the browser itself."""

    def __init__(self, page: Page) -> None:
        self.bytes: dict[str, float] = {}
        self._urls: dict[str, str] = {}
        self._session: CDPSession = page.context.new_cdp_session(page)
        self._session.send("Network.enable")
        self._session.on(
            "Network.responseReceived", lambda said: self._name(said["requestId"], said["response"]["url"])
        )
        self._session.on(
            "Network.loadingFinished", lambda said: self._add(said["requestId"], said["encodedDataLength"])
        )

    def _name(self, request: str, url: str) -> None:
        self._urls[request] = url

    def _add(self, request: str, length: float) -> None:
        url = self._urls.get(request, request)
        self.bytes[url] = self.bytes.get(url, 0) + length


def arrive(page: Page, url: str) -> float:
    """Go to a lesson; the milliseconds from the request until its editor takes keys."""
    page.goto(url)
    expect(page.locator("#bench[data-ready]")).to_be_attached()
    page.wait_for_load_state("networkidle")
    return float(page.evaluate("performance.getEntriesByName('ready')[0].startTime"))


def test_a_lesson_is_light_and_the_next_one_lighter(browser: Browser, server: str, lessons: dict[str, Lesson]) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        load = Load(page)
        for number, slug in enumerate(("hello-std", "panic-handler", list(lessons)[-1])):
            load.bytes.clear()
            page.goto(f"{server}/lessons/{slug}", wait_until="networkidle")
            weight = sum(load.bytes.values())
            print(f"{slug}: {weight:.0f} bytes")
            low, high = (1_000, NEXT) if number else (50_000, FIRST)
            assert low < weight < high, load.bytes


def test_one_can_type_at_once(browser: Browser, server: str) -> None:
    """The best of three browsers that have nothing in store: others may use the machine meanwhile."""
    times = []
    for _ in range(3):
        with browser.new_context() as context:
            page = context.new_page()
            page.add_init_script("document.addEventListener('bench:ready', () => performance.mark('ready'))")
            times.append(arrive(page, f"{server}/lessons/panic-handler"))
    print(f"ready after {', '.join(f'{time:.0f}' for time in times)} ms")
    assert min(times) < PATIENCE_MS
