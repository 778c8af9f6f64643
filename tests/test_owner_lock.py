"""One turn at a time for each owner, without waiting for other owners."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from app.binary import Card
from app.course.lesson import Lesson
from app.engine.cards import ArtifactCards
from app.engine.owner_lock import PerOwnerLock
from app.inspector import UNKNOWN
from app.protocol.command import parse
from app.toolchain import Toolchain
from tests.support.jobs import job as job_of

pytestmark = pytest.mark.anyio


async def test_an_owner_waits_only_for_its_own_requests() -> None:
    locks, begun, go = PerOwnerLock(), list[str](), anyio.Event()

    async def take(owner: str) -> None:
        async with locks.of(owner):
            begun.append(owner)
            await go.wait()

    async with anyio.create_task_group() as tasks:
        for owner in ("loud", "loud", "loud", "quiet"):
            tasks.start_soon(take, owner)
        await anyio.wait_all_tasks_blocked()
        assert begun == ["loud", "quiet"]
        go.set()
    assert sorted(begun) == ["loud", "loud", "loud", "quiet"]


async def test_finished_owners_leave_nothing_in_memory() -> None:
    locks = PerOwnerLock()
    with anyio.move_on_after(0):
        async with locks.of("gone"):
            await anyio.sleep_forever()
    async with locks.of("other"):
        assert len(locks) == 1
    assert len(locks) == 0


async def test_a_card_is_read_once_and_a_seat_takes_one_place() -> None:
    reading: list[str] = []
    go = anyio.Event()

    async def card_of(file: Path, _companions: object, _places: object) -> Card:
        reading.append(file.name)
        await go.wait()
        return Card(UNKNOWN, 1)

    def built(name: str, owner: str) -> Any:
        return SimpleNamespace(
            id=name,
            job=SimpleNamespace(lock_owner=owner),
            built=SimpleNamespace(file=Path(name), companions=()),
            card=None,
        )

    inspector: Any = SimpleNamespace(card_of=card_of)
    nothing: Any = None
    cards = ArtifactCards(inspector, nothing, nothing, nothing)
    first, second, other = built("first", "loud"), built("second", "loud"), built("other", "quiet")
    async with anyio.create_task_group() as tasks:
        for run in (*[first] * 20, second, other):
            tasks.start_soon(cards.card, run)
        await anyio.wait_all_tasks_blocked()
        assert reading == ["first", "other"]
        go.set()
    assert sorted(reading) == ["first", "other", "second"]


def test_a_run_without_a_seat_takes_the_lock_of_its_address(
    lessons: dict[str, Lesson], toolchains: tuple[Toolchain, ...]
) -> None:
    job = job_of(lessons["hello-std"], {}, parse("cargo build"), toolchains[0], queue_owner="203.0.113.9")
    assert job.lock_owner == "203.0.113.9"
    assert job.model_copy(update={"owner": "seat"}).lock_owner == "seat"
    assert job.model_copy(update={"queue_owner": None}).lock_owner == "", "this machine itself is one, too"
