"""The addresses that a lesson's forms post to, as a browser without scripts shows them afterwards."""

import re
from collections.abc import Iterable

from fastapi import APIRouter
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from app.web.pages.common import Home, Step, to

_FORM = re.compile(r"/lessons/\{slug\}/\w+")


def leading_back(routes: Iterable[BaseRoute]) -> APIRouter:
    """Return a router that answers a GET of each form's address, when it is typed in again, with its lesson.

    Each address has a route of its own, so that no order of registration matters.
    """
    router = APIRouter()
    for address in sorted(_posted(routes)):
        router.add_api_route(address, _lesson_of_form, methods=["GET"], response_model=None)
    return router


async def _lesson_of_form(home: Home, lesson: Step) -> Response:
    return to(home, lesson)


def _posted(routes: Iterable[BaseRoute]) -> set[str]:
    forms = [route for route in routes if isinstance(route, APIRoute) and _FORM.fullmatch(route.path)]
    return {route.path for route in forms if "POST" in (route.methods or ())}
