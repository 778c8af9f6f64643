"""Serving below a proxy's path: every URL of every page begins with it, stripped by the proxy or not."""

import re
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest

from app.course.lesson import Lesson
from app.settings import Settings
from app.web import create_app

ROOT = "/course/rust"
_ADDRESS = re.compile(r'\b(?:href|src|action|hx-[a-z:-]+)="(/[^"]*)"')


@pytest.fixture
async def proxied(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client behind a proxy that keeps the root path in requests."""
    app = create_app(settings.model_copy(update={"root_path": ROOT}))
    async with app.router.lifespan_context(app):
        # Otherwise the end of a quick test would interrupt the first search for toolchains.
        await app.state.playground.engine.warm()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://localhost{ROOT}") as client:
            yield client


@pytest.mark.anyio
async def test_every_address_of_every_page_begins_with_the_root_path(proxied: httpx.AsyncClient) -> None:
    lessons = (await proxied.get("/api/lessons")).json()
    pages = ["/", "/nowhere", *(f"/lessons/{lesson['slug']}" for lesson in lessons)]
    found = set[str]()
    for page in pages:
        found |= set(_ADDRESS.findall((await proxied.get(page)).text))
    assert len(found) > len(lessons)
    assert [address for address in found if not address.startswith(f"{ROOT}/")] == []


@pytest.mark.anyio
@pytest.mark.parametrize("base", [ROOT, ""], ids=["left", "taken away"])
async def test_pages_files_and_health_are_found_with_and_without_the_root_path(
    proxied: httpx.AsyncClient, base: str
) -> None:
    for path in ("/", "/lessons/hello-std", "/static/css/site.css", "/api/lessons", "/healthz"):
        answer = await proxied.get(f"http://localhost{base}{path}")
        assert answer.status_code == 200, path


@pytest.mark.anyio
async def test_the_root_path_alone_is_the_course_map(proxied: httpx.AsyncClient) -> None:
    assert "<h1>" in (await proxied.get(f"http://localhost{ROOT}")).text


@pytest.mark.anyio
async def test_the_seat_belongs_to_the_root_path(proxied: httpx.AsyncClient) -> None:
    cookie = (await proxied.get("/")).headers["set-cookie"]
    assert f"Path={ROOT};" in cookie
    gone = await proxied.post("/forget")
    assert gone.headers["location"] == f"{ROOT}/?forgotten=1"
    assert f"Path={ROOT};" in gone.headers["set-cookie"]


@pytest.mark.anyio
async def test_a_run_is_followed_below_the_root_path(proxied: httpx.AsyncClient, lessons: dict[str, Lesson]) -> None:
    lesson = lessons["hello-std"]
    wanted = {"lesson": lesson.slug, "command": lesson.commands[0]}
    accepted = (await proxied.post("/api/runs", json=wanted)).json()
    assert accepted["events"].startswith(f"{ROOT}/api/runs/")
    with anyio.fail_after(60):
        assert '"type":"verdict"' in (await proxied.get(f"http://localhost{accepted['events']}")).text
    form = {"command": lesson.commands[0]} | {f"file:{path}": lesson.files[path] for path in lesson.editable}
    page = await proxied.post(f"/lessons/{lesson.slug}/runs", data=form)
    assert f'action="{ROOT}/lessons/' in page.text
    panel = await proxied.post(f"/lessons/{lesson.slug}/runs", data=form, headers={"hx-request": "true"})
    [address] = re.findall(r'hx-sse:connect="([^"]+)"', panel.text)
    with anyio.fail_after(60):
        patches = (await proxied.get(f"http://localhost{address}")).text
    assert "run-done" in patches
    assert [one for one in _ADDRESS.findall(patches) if not one.startswith(f"{ROOT}/")] == []


def test_a_root_path_is_a_path() -> None:
    assert Settings(root_path="/rust/").root_path == "/rust"
    assert Settings(root_path="/").root_path == ""
    with pytest.raises(ValueError, match="is not a URL path"):
        Settings(root_path="rust")
