"""Combine pages, API and guard into one application with ``create_app``."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect

from app import __version__
from app.engine import EngineUnavailableError, NoSuchRunError
from app.engine.inventory import LocalSetup
from app.progress import StoreError
from app.settings import Settings
from app.web import api, artifacts, pages
from app.web import problem as problems
from app.web.files import Files
from app.web.guard import Guard
from app.web.guard.bodies import BodyError
from app.web.guard.paths import path_of
from app.web.journal import current_request
from app.web.problem import ProblemError
from app.web.state import Backend, Playground

_log = logging.getLogger(__name__)


def create_app(settings: Settings, found: LocalSetup | None = None, backend: Backend | None = None) -> FastAPI:
    """Return the application; raises ``CourseError`` if no course can be loaded.

    ``found``: the result of an earlier examination of this machine. ``backend``: an engine that is elsewhere, and that
    the caller opens and closes.
    """
    state = Playground(settings, found, backend)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with state.opened, anyio.create_task_group() as tasks:
            state.warming = True
            tasks.start_soon(_warm, state)
            tasks.start_soon(state.classroom.keep)
            tasks.start_soon(state.retention)
            yield
            tasks.cancel_scope.cancel()
        await state.classroom.flush()
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
    app.add_exception_handler(EngineUnavailableError, _engine_gone)
    app.add_exception_handler(StoreError, _not_stored)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=6)  # streams of events are left alone

    async def note_presence(owner: str | None) -> None:
        state.metrics.seen(owner)
        await state.engine.note_presence(owner)

    app.add_middleware(
        Guard,
        settings=settings,
        seats=state.seats,
        refuse=_answer,
        note_presence=note_presence,
        journal=state.journal,
    )
    return app


async def _warm(state: Playground) -> None:
    try:
        await state.engine.warm()
    except Exception:
        # The server is useful without toolchains; readyz and doctor report what is missing.
        _log.exception("the toolchains could not be examined")
    finally:
        state.warming = False


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return _answer(request, error)


def _answer(request: Request, problem: ProblemError) -> Response:
    """Answer as JSON where programs ask, which includes the health checks, and as a page elsewhere."""
    home: Playground = request.app.state.playground
    home.metrics.refused(problem.code)
    home.journal.refused(request.scope, problem.status, problem.code)
    if path_of(request.scope).startswith(("/api/", "/healthz", "/readyz", "/metrics")):
        return api.problem_answer(problem)
    return pages.problem_page(request, problem)


async def _dropped(request: Request, _error: Exception) -> Response:
    """Answer a request whose run was dropped meanwhile."""
    return _answer(request, problems.no_such_run())


async def _engine_gone(request: Request, error: Exception) -> Response:
    """Answer a request that needs an engine which cannot be reached."""
    _log.error("the engine cannot be reached: %s", error)
    return _answer(request, problems.engine_unavailable())


async def _not_stored(request: Request, error: Exception) -> Response:
    """Answer a request whose change the disk has refused."""
    home: Playground = request.app.state.playground
    home.journal.not_stored(error, request=current_request(), run="", lesson="")
    return _answer(request, problems.storage_failed(error))


async def _gone(_request: Request, _error: Exception) -> Response:
    """Keep a client that disconnects in the middle of its request out of the log; nobody reads this answer."""
    return Response(status_code=400)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, BodyError):
        return _answer(request, error.problem)
    answer = _answer(request, problems.http_error(error.status_code, str(error.detail)))
    answer.headers.update(error.headers or {})
    return answer


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _answer(request, problems.not_json())
    # A name may contain half a surrogate pair, which cannot be encoded.
    field = ".".join(str(part)[:80] for part in first["loc"][1:]).encode("utf-8", "replace").decode()
    return _answer(request, problems.invalid(field or None, str(first["msg"])[:200]))
