"""A second course in the browser, with its own texts, drafts and progress."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import RUN_MS, area, learner, type_files
from tests.support.server import serving

MINE = 'fn main() {\n    println!("my own words");\n}\n'


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, two_courses: Path) -> Iterator[str]:
    """The address of a server with two courses."""
    with serving(tmp_path_factory.mktemp("two") / "data", PLAYGROUND_LESSONS_DIR=str(two_courses)) as server:
        yield server.url


def test_a_draft_stays_in_its_course(browser: Browser, two: str) -> None:
    with learner(browser, two) as page:
        page.goto(f"{two}/courses/tiny/lessons/hello-std")
        type_files(page, {"src/main.rs": MINE})
        page.wait_for_function("() => Object.keys(localStorage).some((key) => key.includes('draft:tiny/hello-std'))")
        page.goto(f"{two}/lessons/hello-std")
        expect(page.locator("form[data-ready]")).to_be_attached()
        assert area(page, "src/main.rs").input_value() != MINE
        page.goto(f"{two}/courses/tiny/lessons/hello-std")
        expect(area(page, "src/main.rs")).to_have_value(MINE)


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_a_course_is_chosen_and_walked_through(browser: Browser, two: str, scripts: bool) -> None:
    with learner(browser, two, scripts=scripts) as page:
        page.goto(two)
        page.get_by_role("link", name="A Tiny Course").click()
        expect(page.locator("h1")).to_have_text("A Tiny Course")
        page.get_by_role("link", name="Start: A tiny program").click()
        expect(page).to_have_url(f"{two}/courses/tiny/lessons/hello-std")
        if scripts:
            expect(page.locator("form[data-ready]")).to_be_attached()
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.locator("#run-verdict")).to_contain_text("Goal reached", timeout=RUN_MS)
        expect(page.locator("#run-progress .count")).to_contain_text("1/2")
        page.get_by_role("button", name="Keep my files").click()
        expect(page).to_have_url(f"{two}/courses/tiny/lessons/missing-name")
        page.locator("header a.home").click()
        expect(page.locator("li.step.done")).to_have_count(1)
        page.goto(f"{two}/courses/freestanding-rust-binary")
        expect(page.locator("li.step.done")).to_have_count(0)
