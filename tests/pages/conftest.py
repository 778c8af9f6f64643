"""Fixtures for a playground with a scripted engine."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.course import load_shelf
from app.engine.inventory import LocalInventory, LocalSetup
from app.sandbox import Box, Isolation, Limits
from app.settings import Settings
from app.toolchain import Demand
from app.web import create_app
from app.web.state import Backend
from tests.support.courses import course_toml
from tests.support.scripted import ERRORS, LESSON, START, ScriptedEngine, ScriptedToolchains, write


@pytest.fixture
def bare_keys() -> bool:
    """Return True, as in the shipped course: the key of a lesson is its slug alone."""
    return True


@pytest.fixture
def course(tmp_path: Path, bare_keys: bool) -> Path:
    """The folder of a course with three lessons; the first has a variant of its files."""
    folder = tmp_path / "lessons"
    for number, slug in enumerate(("one", "two", "three"), 1):
        home = folder / f"{number:02}-{slug}"
        write(home / "lesson.toml", LESSON.format(slug=slug))
        write(home / "text.md", f"## About {slug}\n\nText <b>of</b> {slug}.\n")
        write(home / "start/src/main.rs", START)
        write(home / "start/Cargo.toml", "[package]\n")
        write(home / "solution/src/main.rs", f"// {slug}\n")
    write(folder / "01-one/other/src/main.rs", "// other\n")
    write(folder / "01-one/text.md", "## About one\n\nText <b>of</b> one.\n\n```offer other\nTry `it`\n```\n")
    write(folder / "errors.toml", ERRORS)
    write(folder / "course.toml", course_toml("01-one", "02-two", "03-three", bare_keys=bare_keys))
    return folder


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def machine() -> ScriptedToolchains:
    return ScriptedToolchains()


@pytest.fixture
def clock() -> list[float]:
    """The inventory's clock: its last element is the time in seconds."""
    return [100.0]


@pytest.fixture
def demand(settings: Settings) -> Demand:
    """A set-up of targets that always fails."""

    async def add(_cache: Path, say: Callable[[str], None], targets: tuple[str, ...]) -> tuple[str, ...]:
        say("  rustup could not: no network")
        return targets

    return Demand(settings.cache_dir, add)


@pytest.fixture
def inventory(
    settings: Settings, course: Path, machine: ScriptedToolchains, demand: Demand, clock: list[float]
) -> LocalInventory:
    made = LocalInventory(settings, load_shelf(course).courses, demand, source=machine, clock=lambda: clock[-1])
    isolation = Isolation(Box("none", Limits.of(settings), None), ())
    made.begin(LocalSetup(isolation, machine.toolchains))
    return made


@pytest.fixture
async def app(
    settings: Settings, course: Path, engine: ScriptedEngine, inventory: LocalInventory
) -> AsyncIterator[FastAPI]:
    made = create_app(settings.model_copy(update={"lessons_dir": course}), backend=Backend(engine, inventory))
    yield made
    made.state.playground.progress.close()


@pytest.fixture
async def learner(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a cookie that, like htmx, follows no redirect by itself."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        await client.get("/")
        yield client
