"""A hostile seat in a class: it floods the queue and the pages, and tries what learners may not do."""

import random
from contextlib import suppress

import anyio
import httpx

from app.cli.learner import Browser
from app.course import Lesson
from bench.load import ENDLESS

_PAUSE = 0.05
"""Seconds between two requests. Without one, ten of these would mostly measure this load generator."""
_AGAIN = 5.0
"""Seconds after which a refused run is posted again, and another seat joins."""
_NAMES = ("<script>alert(1)</script>", "Ada 1", "\u202eadA", "a" + "\u0301" * 28, "\u3164", "Seat 1", "x" * 5000)
_READS = ("/class", "/class/me", "/class/qr.svg", "/class/strip?seen=0", "/class/members/1", "/class/events", "/")
_FORMS: tuple[tuple[str, dict[str, str]], ...] = (
    ("/class/enter", {"key": "0" * 22}),
    ("/class/hand", {"raised": "1"}),
    ("/class/hand", {}),
    ("/class/words/1", {}),
    ("/class/pace", {"banner": "owned", "closed": "1"}),
    ("/class/members/1/remove", {}),
    ("/class/shown", {"step": "hello-std"}),
    ("/class/seat", {}),
    ("/seat/0", {}),
    ("/lessons/hello-std/snippet", {"choice": "1", "file:src/main.rs": "x" * 500_000}),
)


async def vandalize(url: str, number: int, lesson: Lesson) -> None:
    """Do harm from one address until cancelled; what is refused is tried again."""
    chance = random.Random(number)  # noqa: S311 - decides what comes next
    address = f"10.1.0.{number + 1}"
    async with Browser(url, address) as browser, anyio.create_task_group() as group:
        await _join(browser, chance)
        for command, source in ENDLESS:
            group.start_soon(_run, browser, lesson, command, source)
        group.start_soon(_bring_others, url, address, chance)
        while True:
            with suppress(httpx.HTTPError):
                await browser.get(chance.choice(_READS))
            await anyio.sleep(_PAUSE)
            with suppress(httpx.HTTPError):
                await browser.post(*chance.choice((*_FORMS, ("/class/join", {"name": chance.choice(_NAMES)}))))
            await anyio.sleep(_PAUSE)


async def _join(browser: Browser, chance: random.Random) -> None:
    with suppress(httpx.HTTPError):
        await browser.get("/")
        await browser.post("/class/join", {"name": chance.choice(_NAMES)})


async def _run(browser: Browser, lesson: Lesson, command: str, source: str) -> None:
    while True:
        with suppress(httpx.HTTPError):
            ran = await browser.run(lesson.address, command, {"src/main.rs": source})
            await anyio.sleep(_AGAIN if ran.refused else 0)


async def _bring_others(url: str, address: str, chance: random.Random) -> None:
    """Let one seat after the other join from the same address."""
    while True:
        async with Browser(url, address) as browser:
            await _join(browser, chance)
        await anyio.sleep(_AGAIN)
