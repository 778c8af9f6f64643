"""Answer when a form's address is typed in again, as browsers without scripts show it after a post."""

import re
from collections.abc import Iterable

from fastapi import APIRouter
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from app.web.pages.common import Home, Step, to

_FORM = re.compile(r"/lessons/\{slug\}/\w+")


def leading_back(routes: Iterable[BaseRoute]) -> APIRouter:
    """Return a router that redirects a GET of each form's address to its lesson.

    Each address has its own route, so the order of registration does not matter.
    """
    forms = [route for route in routes if isinstance(route, APIRoute) and _FORM.fullmatch(route.path)]
    router = APIRouter()
    for address in sorted({route.path for route in forms if "POST" in (route.methods or ())}):
        router.add_api_route(address, _lesson_of_form, methods=["GET"], response_model=None)
    return router


async def _lesson_of_form(home: Home, lesson: Step) -> Response:
    return to(home, lesson)
