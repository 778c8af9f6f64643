"""A playground whose engine plays a script."""

import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.course import load_shelf
from app.engine.inventory import Found, LocalInventory
from app.sandbox import Box, Isolation, Limits
from app.settings import Settings
from app.toolchain import Toolchain
from app.web import create_app
from app.web.state import Machine
from tests.support.courses import course_toml
from tests.support.scripted import ERRORS, LESSON, START, ScriptedEngine, write


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """Three lessons, of which the last has other files."""
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
    write(folder / "course.toml", course_toml("01-one", "02-two", "03-three"))
    return folder


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def inventory(settings: Settings, course: Path) -> LocalInventory:
    """Two compilers without further targets."""
    here = Path(sys.executable)
    toolchain = Toolchain(
        name="1.99",
        version="1.99.0",
        stable=True,
        source="system",
        host="x86_64-unknown-linux-gnu",
        cargo=here,
        rustc=here,
        compiler=here,
        sysroot=here.parent,
        targets={"x86_64-unknown-linux-gnu": "shipped"},
    )
    found = LocalInventory(settings, load_shelf(course).courses)
    isolation = Isolation(Box("none", Limits.of(settings), None), ())
    found.begin(Found(isolation, (toolchain, replace(toolchain, name="1.98", version="1.98.0"))))
    return found


@pytest.fixture
async def app(
    settings: Settings, course: Path, engine: ScriptedEngine, inventory: LocalInventory
) -> AsyncIterator[FastAPI]:
    made = create_app(settings.model_copy(update={"lessons_dir": course}), machine=Machine(engine, inventory))
    yield made
    made.state.playground.progress.close()


@pytest.fixture
async def learner(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A browser: it keeps its cookie and follows nothing by itself."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        await client.get("/")
        yield client
