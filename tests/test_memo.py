"""The memo: each value is made once, one at a time, and again when it is too old."""

import anyio
import pytest

from app.engine.memo import Memo

pytestmark = pytest.mark.anyio


async def test_a_value_is_made_once_however_many_ask_for_it() -> None:
    memo, made = Memo[str, int](), list[str]()

    async def make() -> int:
        made.append("x")
        await anyio.lowlevel.checkpoint()
        return len(made)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(memo.get, "x", make)
    assert await memo.get("x", make) == 1
    assert made == ["x"]


async def test_one_value_is_made_at_a_time() -> None:
    memo, busy, most = Memo[int, None](), 0, 0

    async def make() -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await anyio.lowlevel.checkpoint()
        busy -= 1

    async with anyio.create_task_group() as tasks:
        for key in range(3):
            tasks.start_soon(memo.get, key, make)
    assert most == 1


async def test_none_is_a_value_too() -> None:
    memo, made = Memo[str, None](), list[str]()

    async def none() -> None:
        made.append("x")

    await memo.get("x", none)
    await memo.get("x", none)
    assert made == ["x"]


async def test_an_old_value_is_made_again() -> None:
    now = 100.0
    memo, made = Memo[str, int](ttl=5, clock=lambda: now), list[int]()

    async def make() -> int:
        made.append(1)
        return len(made)

    assert await memo.get("x", make) == 1
    now += 5
    assert await memo.get("x", make) == 1
    now += 1
    assert await memo.get("x", make) == 2


async def test_a_failure_is_not_remembered() -> None:
    memo = Memo[str, int]()

    async def fail() -> int:
        raise OSError

    async def make() -> int:
        return 1

    with pytest.raises(OSError):  # noqa: PT011 - any will do
        await memo.get("x", fail)
    assert await memo.get("x", make) == 1
