"""Examine a page with axe-core, in light, dark and forced colours."""

from typing import Literal

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

from tests.support.states import opened

Mode = Literal["light", "dark", "forced"]
MODES: tuple[Mode, ...] = ("light", "dark", "forced")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOURS = ["color-contrast", "link-in-text-block"]
"""The rules that depend on colours; the others give the same result in every mode."""


def complaints(page: Page, rules: list[str]) -> list[str]:
    options = {"runOnly": rules, "resultTypes": ["violations"], "preload": False}
    found = page.evaluate("async options => (await axe.run(options)).violations", options)
    return [f"{one['id']}: {node['target']} {node['failureSummary']}" for one in found for node in one["nodes"]]


def look(page: Page, mode: Mode) -> None:
    page.emulate_media(
        color_scheme="dark" if mode == "dark" else "light",
        forced_colors="active" if mode == "forced" else "none",
        reduced_motion="reduce",
    )


def examined(page: Page, modes: tuple[Mode, ...] = MODES) -> list[str]:
    """Return axe's violations for the page in these modes."""
    opened(page)
    page.evaluate(AXE_SCRIPT)
    found = []
    for mode in modes:
        look(page, mode)
        found += [f"{mode}: {text}" for text in complaints(page, RULES if mode == "light" else COLOURS)]
    look(page, "light")
    return found
