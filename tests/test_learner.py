"""Simulated learners on a real server: what a browser with scripts does, and what they do in a class."""

from pathlib import Path

import anyio
import httpx
import pytest

from app.cli.learner import Browser, Ran, SimulatedLearner
from app.course import Lesson
from tests.support.classroom import holding

pytestmark = pytest.mark.anyio


async def test_a_browser_loads_pages_and_follows_its_runs(server: str, lessons: dict[str, Lesson]) -> None:
    lesson = lessons["hello-std"]
    async with Browser(server) as browser:
        assert await browser.open(lesson.address) > 0
        ran = await browser.run(lesson.address, "rustc --version", lesson.editable_files)
        assert ran.refused is None
        assert 0 < ran.first <= ran.seconds
        refused = await browser.run(lesson.address, "make me a sandwich", lesson.editable_files)
        assert refused.refused == 422


async def test_a_simulated_learner_takes_part_in_a_class(tmp_path: Path, lessons: dict[str, Lesson]) -> None:
    lesson, runs = lessons["no-std"], list[Ran]()
    with holding(tmp_path / "data", "--code") as held:
        code = held.printed.partition("Code:")[2].split()[0]
        async with Browser(held.url) as browser, httpx.AsyncClient(base_url=held.url) as instructor:
            learner = SimulatedLearner(browser, 1, skill=1.0, ran=runs.append)
            with pytest.raises(httpx.HTTPStatusError, match="403"):
                await learner.join("no")
            await learner.join(code)
            await learner.open(lesson)
            assert await learner.try_once(lesson)
            await learner.hand(lesson, raised=True)
            assert [ran.refused for ran in runs] == [None]
            assert "1/16" in await browser.get(lesson.address)
            await instructor.post("/class/enter", data={"key": held.key})
            page = (await instructor.get("/class")).text
            assert learner.name in page
            assert "1 hand raised" in page
            sender, strips = anyio.create_memory_object_stream[str](10)
            with sender, strips, anyio.fail_after(60):
                async with anyio.create_task_group() as group:
                    group.start_soon(browser.watch_strip, lesson.key, sender.send_nowait)
                    assert "Stop for a moment" not in await strips.receive()
                    await instructor.post("/class/pace", data={"banner": "Stop for a moment"})
                    assert "Stop for a moment" in await strips.receive()
                    group.cancel_scope.cancel()
        assert browser.failed == 0


async def test_without_a_class_there_is_none_to_join(server: str) -> None:
    async with Browser(server) as browser:
        with pytest.raises(httpx.HTTPStatusError, match="404"):
            await SimulatedLearner(browser, 1).join()
