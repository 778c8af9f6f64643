"""The cache of drawn panels: bounded, but with at least one panel."""

import tracemalloc

import pytest
from markupsafe import Markup

from app.web.panels import Panels

LARGE = {"terminal": Markup("x") * 6_000_000}


def test_one_panel_of_any_size_is_kept() -> None:
    panels = Panels()
    wide = {"terminal": Markup("\U0001f600") * 5_000_000, "status": Markup("ended")}
    panels.keep("a", "seat", wide)
    assert panels.get("a") == wide
    panels.keep("b", "seat", LARGE)
    assert (panels.get("a"), panels.get("b")) == (None, LARGE)


def test_those_go_that_were_not_asked_for_the_longest() -> None:
    panels = Panels()
    for run_id in ("a", "b"):
        panels.keep(run_id, "seat", LARGE)
    assert panels.get("a") == LARGE
    panels.keep("c", "seat", LARGE)
    assert [panels.get(run_id) is not None for run_id in "abc"] == [True, False, True]


def test_a_panel_stays_html_and_takes_any_text() -> None:
    panels = Panels()
    panels.keep("a", None, {"terminal": Markup("<b>é</b>\ud800")})
    found = panels.get("a")
    assert found == {"terminal": Markup("<b>é</b>?")}
    assert isinstance(found["terminal"], Markup)


@pytest.mark.parametrize(("owner", "left"), [("me", False), ("other", True)])
def test_only_the_panels_of_one_owner_are_forgotten(owner: str, left: bool) -> None:
    panels = Panels()
    panels.keep("a", owner, {})
    panels.forget("me")
    assert (panels.get("a") is not None) == left


def test_requests_that_wait_hold_no_copy_of_a_panel() -> None:
    panels = Panels()
    panels.keep("a", "seat", {"terminal": Markup("\U0001f600") * 1_000_000})
    tracemalloc.start()
    waiting = [panels.get("a") for _ in range(100)]
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(waiting) == 100
    assert size < 1_000_000
