"""Find the elements that do not fit into a page's width."""

from playwright.sync_api import Page

WIDTHS = (320, 360, 640, 820, 1280, 1920)
"""Widths in CSS pixels. 1280 pixels at 200 % zoom are 640, at 400 % they are 320."""
WIDE = """() => {
    const root = document.documentElement
    const out = each => each.getBoundingClientRect().right > root.clientWidth + 1 && each.checkVisibility()
    const found = {}
    for (const view of [...document.querySelectorAll("[data-views] input"), null]) {
        if (view) view.checked = true
        if (root.scrollWidth <= root.clientWidth) continue
        const names = [...document.querySelectorAll("body *")].filter(out).map(each => each.outerHTML.slice(0, 200))
        found[view?.value ?? "page"] = names.slice(0, 5)
    }
    return found
}"""
"""Collect the elements that overflow each view of a narrow page."""


def sideways(page: Page) -> dict[int, dict[str, list[str]]]:
    """Return the elements that overflow the page, by width."""
    found = {}
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        if wide := page.evaluate(WIDE):
            found[width] = wide
    return found
