"""A run on the page after its end."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.engine import NoSuchRunError
from app.web.pages.panel import finished
from tests.support.clients import seat_of
from tests.support.scripted import ScriptedEngine, post

pytestmark = pytest.mark.anyio


async def test_a_panel_that_is_drawn_while_its_run_is_deleted_is_not_kept(
    app: FastAPI, learner: httpx.AsyncClient, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = app.state.playground
    await learner.get("/lessons/one")
    await post(learner, htmx=True)
    run_id = f"{len(engine.jobs):032x}"
    draw = home.draw

    async def drawn(work: Callable[[], Any]) -> Any:
        found = await draw(work)
        engine.jobs.clear()
        await home.forget(seat_of(learner.cookies))
        return found

    monkeypatch.setattr(home, "draw", drawn)
    with pytest.raises(NoSuchRunError):
        await finished(home, home.lesson("one"), run_id)
    assert home.panels.get(run_id) is None
