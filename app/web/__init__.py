"""The web: ``create_app`` puts pages, API and guard together."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import anyio
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect

from app import __version__
from app.engine import NoSuchRunError
from app.engine.inventory import LocalSetup
from app.settings import Settings
from app.web import api, artifacts, pages
from app.web.files import Files
from app.web.guard import Guard
from app.web.guard.bodies import BodyError
from app.web.guard.paths import path_of
from app.web.problem import ProblemError, no_such_run
from app.web.state import Backend, Playground

_log = logging.getLogger(__name__)


def create_app(settings: Settings, found: LocalSetup | None = None, backend: Backend | None = None) -> FastAPI:
    """The application; raises ``LessonError`` when a lesson cannot be loaded.

    ``found``: what was found on this machine, if somebody has looked already. ``backend``: an engine that is somewhere
    else, and is opened and closed by the caller.
    """
    state = Playground(settings, found, backend)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with state.local or nullcontext(), anyio.create_task_group() as tasks:
            tasks.start_soon(_warm, state)
            yield
            tasks.cancel_scope.cancel()
        state.progress.close()

    app = FastAPI(
        title=f"{state.shelf.default.title}: the playground",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.state.playground = state
    app.include_router(api.router)
    app.include_router(artifacts.router)
    app.include_router(pages.router, include_in_schema=False)
    app.mount("/static", Files(settings.static_dir), name="static")
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(NoSuchRunError, _dropped)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=6)  # streams of events are left alone
    app.add_middleware(
        Guard, settings=settings, seats=state.seats, refuse=_answer, note_presence=state.engine.note_presence
    )
    return app


async def _warm(state: Playground) -> None:
    try:
        await state.engine.warm()
    except Exception:
        # The server is of use without; readyz and doctor say what is missing.
        _log.exception("the toolchains could not be looked at")


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return _answer(request, error)


def _answer(request: Request, problem: ProblemError) -> Response:
    """A problem as programs read it, or as a page; health is asked for by programs."""
    if path_of(request.scope).startswith(("/api/", "/healthz", "/readyz")):
        return api.problem_answer(problem)
    return pages.problem_page(request, problem)


async def _dropped(request: Request, _error: Exception) -> Response:
    """The run was dropped while the request was looked after."""
    return _answer(request, no_such_run())


async def _gone(_request: Request, _error: Exception) -> Response:
    """The sender left in the middle of its request; nobody reads this, and the log need not know."""
    return Response(status_code=400)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, BodyError):
        return _answer(request, error.problem)
    messages = {
        404: "There is nothing at this address; the course map is at /.",
        405: "This address takes other methods.",
    }
    message = messages.get(error.status_code, str(error.detail))
    answer = _answer(request, ProblemError(error.status_code, f"http-{error.status_code}", message))
    answer.headers.update(error.headers or {})
    return answer


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _answer(request, ProblemError(400, "not-json", "The body is not valid JSON; send a JSON object."))
    field = _field(first["loc"])
    message = f"{field or 'The body'}: {str(first['msg'])[:200]}."
    return _answer(request, ProblemError(422, "invalid", message, field))


def _field(location: Sequence[Any]) -> str | None:
    """The field's name; of a name that is no text, such as half a surrogate pair, what can be sent."""
    found = ".".join(str(part)[:80] for part in location[1:])
    return found.encode("utf-8", "replace").decode() or None
