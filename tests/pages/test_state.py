"""A server deletes the data of old seats by itself, and that of a seat whose learner asks for it."""

from datetime import UTC, datetime, timedelta

import anyio
import httpx
import pytest
from fastapi import FastAPI

from app.protocol.job import JobSpec
from app.web.state import Playground
from tests.support.clients import seat_of
from tests.support.scripted import ScriptedEngine, post

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("days", "left"), [(180, {"recent"}), (0, {"recent", "old"}), (400, {"recent", "old"})])
async def test_seats_that_have_run_nothing_for_long_are_deleted(
    app: FastAPI, days: int, left: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    playground: Playground = app.state.playground
    playground.settings = playground.settings.model_copy(update={"seat_days": days})
    for seat, age in (("recent", 170), ("old", 190)):
        at = datetime.now(UTC) - timedelta(days=age)
        await playground.progress.mark(seat, "one", "1.96", at)
    purge = playground.progress.purge
    with anyio.fail_after(60), anyio.CancelScope() as scope:

        async def purged(before: datetime) -> list[str]:
            gone = await purge(before)
            scope.deadline = anyio.current_time() + 0.3
            return gone

        monkeypatch.setattr(playground.progress, "purge", purged)
        await playground.retention()
    assert scope.cancelled_caught == bool(days), "it comes back once a day"
    assert {seat for seat in ("recent", "old") if await playground.progress.reached(seat)} == left


async def stored(app: FastAPI, seat: str) -> int:
    """Return the number of texts and runs that are stored of a seat."""
    progress = app.state.playground.progress
    return len(await progress.files(seat, "one")) + (await progress.last_run(seat, "one") is not None)


async def test_a_run_that_is_posted_during_a_deletion_brings_nothing_back(
    app: FastAPI, learner: httpx.AsyncClient, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seat, cookies = seat_of(learner.cookies), dict(learner.cookies)
    answers: list[httpx.Response] = []
    transport = httpx.ASGITransport(app)
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://localhost", cookies=cookies) as other,
        anyio.create_task_group() as tasks,
    ):

        async def run() -> None:
            answers.append(await post(other, main="// mine\n", htmx=True))

        async def forget(_: str) -> None:
            """The runs of the seat have been cancelled; another tab posts one."""
            tasks.start_soon(run)
            await anyio.wait_all_tasks_blocked()

        monkeypatch.setattr(engine, "forget", forget)
        await learner.post("/forget")
    assert answers[0].status_code == 409
    assert "has just been deleted" in answers[0].text
    assert engine.jobs == []
    assert await stored(app, seat) == 0


async def test_a_deletion_waits_for_a_run_that_is_being_accepted(
    app: FastAPI, learner: httpx.AsyncClient, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seat, asked, accepted = seat_of(learner.cookies), anyio.Event(), anyio.Event()
    submit, order = engine.submit, list[str]()

    async def slow(job: JobSpec) -> str:
        asked.set()
        await accepted.wait()
        order.append("submit")
        return await submit(job)

    async def forget(_: str) -> None:
        order.append("forget")

    monkeypatch.setattr(engine, "submit", slow)
    monkeypatch.setattr(engine, "forget", forget)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(post, learner)
        await asked.wait()
        tasks.start_soon(app.state.playground.forget, seat)
        await anyio.wait_all_tasks_blocked()
        accepted.set()
    assert order == ["submit", "forget"]
    assert await stored(app, seat) == 0
