"""A learner's page in Chromium while the parts of a cluster die: it goes on by itself, and says what happened."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from app.engine.nats import words
from tests.support import chaos
from tests.support.browser import ENDLESS, RUN_MS, learner, type_files
from tests.support.cluster import Cluster
from tests.support.environment import EVERYTHING


@pytest.fixture
def cluster(open_folder: Path) -> Iterator[Cluster]:
    with Cluster(open_folder, workers=1, max_file="64MB") as cluster:
        until = time.monotonic() + 60
        while httpx.get(f"{cluster.url}/readyz").status_code != httpx.codes.OK:
            assert time.monotonic() < until
            time.sleep(0.1)
        yield cluster


def run_endless(page: Page, url: str) -> None:
    """Start a program that prints until it is cancelled."""
    page.goto(f"{url}/lessons/hello-std")
    expect(page.locator("form[data-ready]")).to_be_attached()
    page.evaluate("window.here = true")
    type_files(page, {"src/main.rs": ENDLESS})
    page.locator("#command").fill("cargo run")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#run-terminal")).to_contain_text("line 3", timeout=RUN_MS)


def goes_on(page: Page) -> bool:
    """Return True once the terminal shows more, and the page is the one that was opened."""
    shown = page.locator("#run-terminal").inner_text()
    page.wait_for_function(
        "shown => document.getElementById('run-terminal').innerText.length > shown", arg=len(shown), timeout=RUN_MS
    )
    return bool(page.evaluate("window.here"))


def web_is_away(page: Page, cluster: Cluster) -> None:
    cluster.kill_web()
    expect(page.locator("#problem")).to_contain_text("answering", timeout=RUN_MS)
    cluster.start_web()
    expect(page.locator("#problem")).to_be_empty(timeout=RUN_MS)


def worker_is_lost(page: Page, cluster: Cluster) -> None:
    chaos.kill_worker(cluster)
    expect(page.locator("#run-terminal")).to_contain_text(words.BEGUN_AGAIN, timeout=RUN_MS)


def broker_is_away(page: Page, cluster: Cluster) -> None:
    chaos.kill_broker(cluster, down=3)
    expect(page.locator("#run-terminal")).to_contain_text("The broker was away for", timeout=RUN_MS)


def web_is_cut_off(page: Page, cluster: Cluster) -> None:
    cluster.web_wire.stall()
    expect(page.locator("#problem")).to_have_text(words.INTERRUPTED, timeout=RUN_MS)
    cluster.web_wire.heal()
    expect(page.locator("#problem")).to_be_empty(timeout=RUN_MS)


def worker_is_cut_off(page: Page, cluster: Cluster) -> None:
    chaos.cut_worker(cluster, 3)
    expect(page.locator("#run-terminal")).to_contain_text("The broker was away for", timeout=RUN_MS)


def worker_is_stopped_past_its_lease(page: Page, cluster: Cluster) -> None:
    cluster.join_worker()
    cluster.workers[0].send(signal.SIGSTOP)
    expect(page.locator("#run-terminal")).to_contain_text(words.BEGUN_AGAIN, timeout=RUN_MS)
    cluster.workers[0].send(signal.SIGCONT)


def store_is_full(page: Page, cluster: Cluster) -> None:
    """Nothing new is shown until there is room, and then what was printed meanwhile."""
    with ThreadPoolExecutor() as pool:  # Playwright has the event loop of this thread
        pool.submit(chaos.fill_store, cluster).result()
    assert goes_on(page)
    shown = [
        int(number) for number in re.findall(r"^line (\d+)$", page.locator("#run-terminal").inner_text(), re.MULTILINE)
    ]
    assert shown == list(range(shown[0], shown[0] + len(shown)))


DEATHS = (
    worker_is_lost,
    web_is_away,
    broker_is_away,
    web_is_cut_off,
    worker_is_cut_off,
    worker_is_stopped_past_its_lease,
    store_is_full,
)


@pytest.mark.parametrize("die", DEATHS if EVERYTHING else DEATHS[:1])
def test_a_page_goes_on_by_itself_and_says_what_happened(
    browser: Browser, cluster: Cluster, die: Callable[[Page, Cluster], None]
) -> None:
    with learner(browser, cluster.url, outages=die is web_is_away) as page:
        run_endless(page, cluster.url)
        die(page, cluster)
        assert goes_on(page)
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".verdict")).to_contain_text("Cancelled", timeout=RUN_MS)
        expect(page.locator(".verdict")).to_have_count(1)
