"""A server deletes the data of old seats by itself."""

from datetime import UTC, datetime, timedelta

import anyio
import pytest
from fastapi import FastAPI

from app.web.state import Playground

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("days", "left"), [(180, {"recent"}), (0, {"recent", "old"}), (400, {"recent", "old"})])
async def test_seats_that_have_run_nothing_for_long_are_deleted(app: FastAPI, days: int, left: set[str]) -> None:
    playground: Playground = app.state.playground
    playground.settings = playground.settings.model_copy(update={"seat_days": days})
    for seat, age in (("recent", 170), ("old", 190)):
        at = datetime.now(UTC) - timedelta(days=age)
        await playground.progress.mark(seat, "one", "1.96", at)
    with anyio.move_on_after(0.3) as scope:
        await playground.retention()
    assert scope.cancelled_caught == bool(days), "it comes back once a day"
    assert {seat for seat in ("recent", "old") if await playground.progress.reached(seat)} == left
