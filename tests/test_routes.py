"""The routes of the server: no answer depends on the order of registration."""

import re
from itertools import combinations

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from app.course.lesson import Lesson
from app.settings import Settings
from app.web import create_app
from tests.support.states import CLASS_PAGES, NO_PAGES, PAGES, STATES, paths


@pytest.fixture
def routes(settings: Settings) -> list[tuple[str, str]]:
    return routes_of(create_app(settings))


def routes_of(app: FastAPI) -> list[tuple[str, str]]:
    """Return the method and the path of every route below the application."""
    contexts = iter_route_contexts(app.routes)
    return [(method, context.path) for context in contexts if context.path for method in sorted(context.methods or ())]


def overlaps(one: str, other: str) -> bool:
    """Return True if some address matches both paths; a parameter matches one segment."""
    parts = one.split("/"), other.split("/")
    return len(parts[0]) == len(parts[1]) and all(a == b or "{" in a or "{" in b for a, b in zip(*parts, strict=True))


def test_no_address_fits_two_routes(routes: list[tuple[str, str]]) -> None:
    assert len(routes) > 40
    shared = [
        (method, path, other)
        for (method, path), (other_method, other) in combinations(routes, 2)
        if method == other_method and overlaps(path, other)
    ]
    assert not shared


def test_every_form_of_a_lesson_has_an_address_that_leads_back(routes: list[tuple[str, str]]) -> None:
    forms = {path for method, path in routes if method == "POST" and re.fullmatch(r"/lessons/[^/]+/\w+", path)}
    assert len(forms) >= 13
    assert forms <= {path for method, path in routes if method == "GET"}


def test_every_page_is_among_those_that_browsers_walk(
    routes: list[tuple[str, str]], lessons: dict[str, Lesson]
) -> None:
    # A course's page has two addresses; the tests walk that of the default course.
    answers = {path.removeprefix("/courses/{course}") or "/" for method, path in routes if method == "GET"}
    forms = {path.removeprefix("/courses/{course}") for method, path in routes if method == "POST"}
    others = {path for path in answers if path.startswith("/api/") or path in ("/healthz", "/readyz")}
    forms -= CLASS_PAGES.keys()  # a page of the class may have a form of its own address
    assert answers - forms - others == PAGES.keys() | NO_PAGES | CLASS_PAGES.keys()
    assert set(PAGES.values()) <= {*paths(lessons), *STATES}


def test_a_parameter_overlaps_with_any_part() -> None:
    assert overlaps("/lessons/{slug}/{action}", "/lessons/{slug}/targets")
    assert not overlaps("/lessons/{slug}/runs", "/lessons/{slug}/targets")
    assert not overlaps("/lessons/{slug}", "/lessons/{slug}/targets")
