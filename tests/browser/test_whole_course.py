"""The whole course with the real cargo, three times: by mouse, by keyboard alone, with scripts off."""

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from app.course import Course, Lesson
from app.toolchain import Toolchain
from tests.support.browser import RUN_MS, learner


@pytest.fixture(scope="module")
def steps(taught: Course, toolchains: tuple[Toolchain, ...]) -> list[Lesson]:
    """The post's steps; skip the test unless all of them can be built here."""
    steps = [*taught.parts[0].lessons]
    missing = {step.target for step in steps if not any(each.can_build(step.target) for each in toolchains)}
    if missing:
        pytest.skip(f"no toolchain here has {', '.join(map(str, missing))}; playground setup --all makes them ready")
    return steps


def by_mouse(page: Page, target: str) -> None:
    page.locator(target).first.click()


def by_keyboard(page: Page, target: str) -> None:
    """Press Tab until the element has the focus, then press it."""
    expect(page.locator(target).first).to_be_visible()
    # A locator would search the page again after each key, which costs seven times as much.
    wanted = page.locator(target).first.element_handle()
    for _ in range(150):
        there, editing = wanted.evaluate(
            "it => [it === document.activeElement, Boolean(document.activeElement.closest('.cm-content'))]"
        )
        if there:
            break
        if editing:
            page.keyboard.press("Escape")  # the editor keeps Tab to itself until then
        page.keyboard.press("Tab")
    else:
        pytest.fail(f"the keyboard does not come to {target}")
    page.keyboard.press("Enter")


Press = Callable[[Page, str], None]


def take(page: Page, step: Lesson, press: Press, *, scripts: bool) -> None:
    """Take one step with all the help: predict, show the solution, apply it, run, continue."""
    expect(page.locator("h1")).to_have_text(step.title.replace("`", ""))
    if scripts:
        expect(page.locator("#bench[data-ready]")).to_have_count(1)
    press(page, "#run-prediction .options button")
    expect(page.locator("#run-prediction h2")).to_have_text("Your prediction")
    if step.solution != step.files:
        press(page, "#help button.quiet")
        expect(page.locator("#solution .diff").first).to_be_visible()
        alone = page.locator("#solution button").count() == 1
        press(page, "#solution .diff button" if alone else "#solution > .asks button")
        expect(page.locator("#solution .diff")).to_have_count(0)
        expect(page.locator("#solution")).to_contain_text("Your files match this solution.")
    command = page.locator("#command")
    expect(command).to_have_value(step.first_command)
    command.fill(step.commands[0])
    press(page, ".command [data-run]")
    expect(page.locator(".verdict")).to_be_visible(timeout=RUN_MS)
    expect(page.locator(".verdict.reached"), page.locator("#run").inner_text()).to_have_count(1)


def whole_course(page: Page, server: str, steps: list[Lesson], press: Press, *, scripts: bool = True) -> float:
    """Take every step and return the seconds it took."""
    began = time.monotonic()
    page.goto(server)
    press(page, ".go .button")
    for number, step in enumerate(steps, 1):
        expect(page).to_have_url(re.compile(rf"/lessons/{step.slug}\b"))
        take(page, step, press, scripts=scripts)
        expect(page.locator("#run-progress .count")).to_contain_text(f"{number}/{len(steps)}")
        if step is not steps[-1]:
            press(page, ".verdict .on a")
    page.goto(server)
    expect(page.locator(".part").first.locator(".step.done")).to_have_count(len(steps))
    expect(page.locator(".intro")).to_contain_text(f"All {len(steps)} steps of the post reached.")
    return time.monotonic() - began


def test_by_mouse(browser: Browser, server: str, steps: list[Lesson]) -> None:
    with learner(browser, server) as page:
        print(f"{whole_course(page, server, steps, by_mouse):.1f} s")


def test_by_keyboard_alone(browser: Browser, server: str, steps: list[Lesson]) -> None:
    with learner(browser, server) as page:
        print(f"{whole_course(page, server, steps, by_keyboard):.1f} s")


def test_with_scripts_off(browser: Browser, server: str, steps: list[Lesson]) -> None:
    with learner(browser, server, scripts=False) as page:
        print(f"{whole_course(page, server, steps, by_mouse, scripts=False):.1f} s")
