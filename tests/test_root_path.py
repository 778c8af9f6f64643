"""Serving below a proxy's path: every URL of every page begins with it, stripped by the proxy or not."""

import re
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest
from fastapi import FastAPI

from app.course.lesson import Lesson
from app.settings import Settings
from app.web import create_app
from app.web.classroom import FIRST, Classroom
from app.web.pages.room.qr import qr_svg
from tests.support.clients import seat_of

ROOT = "/course/rust"
_ADDRESS = re.compile(r'\b(?:href|src|action|hx-[a-z:-]+|data-updates)="(/[^"]*)"')
STREAMS = ("/events", "/wall/events", "/step/no-std/events")


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    app = create_app(settings.model_copy(update={"root_path": ROOT}))
    async with app.router.lifespan_context(app):
        # Otherwise the end of a quick test would interrupt the first search for toolchains.
        await app.state.playground.engine.warm()
        yield app


@pytest.fixture
async def proxied(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client behind a proxy that keeps the root path in requests."""
    async with client_of(app) as client:
        yield client


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://localhost{ROOT}")


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


@pytest.mark.anyio
async def test_a_class_is_held_below_the_root_path(app: FastAPI, proxied: httpx.AsyncClient) -> None:
    classroom: Classroom = app.state.playground.classroom
    address, key = f"http://localhost{ROOT}", "0123456789abcdefABCDEF"
    await classroom.room.open(classroom.now(), {"address": address})
    await classroom.room.admit(FIRST, key, "", classroom.now())
    async with client_of(app) as instructor, client_of(app) as device:
        await proxied.get("/")
        joined = await proxied.post("/class/join", data={"name": "Ada", "at": "no-std"})
        assert joined.headers["location"] == f"{ROOT}/lessons/no-std"
        entered = await instructor.post("/class/enter", data={"key": key})
        assert entered.headers["location"] == f"{ROOT}/class"
        assert f"Path={ROOT};" in entered.headers["set-cookie"]
        assert "Ada" in (await instructor.get("/class")).text
        assert address in (await instructor.get("/class/wall")).text
        assert (await proxied.get("/class/qr.svg")).text == qr_svg(address, whole=True)
        link = re.findall(rf"<code>{address}(/seat/[\w-]+)</code>", (await proxied.post("/class/seat")).text)
        assert len(link) == 1
        pages = [await proxied.get(path) for path in ("/", "/lessons/no-std", "/class/me", link[0])]
        pages += [await instructor.get(f"/class{path}") for path in ("", "/wall", "/step/no-std", "/members/1")]
        pages += [await streamed(classroom, instructor, f"/class{path}") for path in STREAMS]
        found = {one for page in pages for one in _ADDRESS.findall(page.raise_for_status().text)}
        assert {f"{ROOT}/class/hand", f"{ROOT}/class/members/1"} <= found
        assert {each.partition("?")[0] for each in found} >= {f"{ROOT}/class{path}" for path in STREAMS}
        assert [one for one in found if not one.startswith(f"{ROOT}/")] == []
        taken = await device.post(link[0])
        assert f"Path={ROOT};" in taken.headers["set-cookie"]
        assert seat_of(device.cookies) == seat_of(proxied.cookies)


async def streamed(classroom: Classroom, client: httpx.AsyncClient, path: str) -> httpx.Response:
    """Follow a stream of the class to its end, which comes with its first message."""
    answers = []

    async def follow() -> None:
        answers.append(await client.get(path))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            while not answers:
                await anyio.sleep(0.05)
                classroom.stop()
    return answers[0]


def test_a_root_path_is_a_path() -> None:
    assert Settings(root_path="/rust/").root_path == "/rust"
    assert Settings(root_path="/").root_path == ""
    with pytest.raises(ValueError, match="is not a URL path"):
        Settings(root_path="rust")
