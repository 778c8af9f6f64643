"""A smoke walk in Firefox and in WebKitGTK: open, predict, edit, run, reload, cancel, and read what came of it."""

from pathlib import Path

import pytest

from tests.support.webdriver import CONTROL, ENTER, HOME, Browser, firefox, webkit

BROWSERS = {"firefox": firefox, "webkit": webkit}
ENDLESS = "fn main() { loop {} }"


def ready(browser: Browser) -> None:
    browser.wait_for("form[data-ready]")


def written(browser: Browser) -> str:
    return str(browser.script("return document.querySelector('textarea[data-path]').value"))


def write(browser: Browser, place: str, text: str) -> None:
    """Type into the editor after Ctrl and another key, such as the one for all of the text."""
    browser.type(".pane .cm-content", f"{CONTROL}{place}")
    browser.type(".pane .cm-content", text)


def in_view(browser: Browser, selector: str) -> bool:
    """Return True if the element is wholly within the window."""
    script = """
        const box = document.querySelector(arguments[0]).getBoundingClientRect();
        return box.height > 0 && box.top >= 0 && box.bottom <= innerHeight + 1 && box.right <= innerWidth + 1;
    """
    return bool(browser.script(script, selector))


@pytest.mark.parametrize("name", BROWSERS)
def test_a_learner_gets_through_a_step(server: str, name: str, tmp_path: Path) -> None:
    with BROWSERS[name](tmp_path) as browser:
        print(browser.name)
        browser.open(server)
        browser.click(".steps a[href$='hello-std']")
        ready(browser)
        assert browser.script("return innerWidth") >= 1024, "the page is a workspace"

        browser.click(".options button")
        browser.wait_for("#run-prediction h2", "Your prediction")

        write(browser, HOME, f"// mine{ENTER}")
        browser.wait_for(".pane .cm-line", "^// mine$")
        assert written(browser).startswith("// mine\nfn main() {\n")

        browser.click("[data-run]")
        browser.wait_for(".verdict.reached h3", "Goal reached")
        browser.wait_for("#run-terminal", "Finished")
        browser.wait_for("#run-startup .size", "KiB")
        for part in (".verdict", "#run-output", "#command"):
            assert in_view(browser, part), part
        browser.click("label[for=pane-prediction]")
        browser.wait_for("#run-prediction", "(Right|Not quite)")
        browser.click("label[for=pane-binary]")
        browser.wait_for("#run-artifact", "Where its")

        browser.reload()
        ready(browser)
        assert written(browser).startswith("// mine\n")
        browser.wait_for(".verdict.reached h3", "Goal reached")

        write(browser, "a", ENDLESS)
        assert written(browser).rstrip() == ENDLESS
        browser.type("#command", f"{CONTROL}a")
        browser.type("#command", "cargo run")
        browser.click("[data-run]")
        browser.wait_for("#run-terminal", "Running")
        browser.click("#run-cancel button")
        browser.wait_for("#run-status", "Cancelled after")
        browser.wait_for(".verdict", "Goal reached earlier|Cancelled")

        browser.click(".startup")
        browser.wait_for("#startup", "What runs before your code")
        browser.click("[popovertarget=steps]")
        browser.wait_for("#steps [aria-current]", "A program with the standard library")


@pytest.mark.parametrize("name", BROWSERS)
def test_a_missed_goal_has_advice_and_a_message_beside_its_line(server: str, name: str, tmp_path: Path) -> None:
    with BROWSERS[name](tmp_path) as browser:
        browser.open(f"{server}/lessons/no-main")
        browser.wait_for(".cm-line .tok-macro", r"#!\[no_std\]")
        browser.open(f"{server}/lessons/no-std")
        ready(browser)
        write(browser, "a", "fn main() { missing(); }")
        browser.click("[data-run]")
        browser.wait_for(".verdict h3", "Not there yet")
        browser.wait_for(".advice", ".")
        browser.wait_for(".cm-line[data-lens*=missing]")
        browser.wait_for("#run-terminal a[data-explain]", "E0425")
        browser.click("#run-terminal a[data-explain]")
        browser.wait_for("dialog[open]", "E0425")
