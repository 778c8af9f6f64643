"""A learner's progress goes from one playground to another as a file, and nothing is lost on the way."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI
from pydantic import ValidationError

from app.engine.inventory import LocalInventory
from app.progress.portable import PortableProgress
from app.settings import Settings
from app.web import create_app
from app.web.state import Backend
from tests.support.clients import seat_of
from tests.support.scripted import ScriptedEngine, post

pytestmark = pytest.mark.anyio


def upload(content: str | bytes) -> dict[str, tuple[str, str | bytes, str]]:
    return {"progress": ("progress.json", content, "application/json")}


def export_of(**lesson: object) -> str:
    return json.dumps({"format": "freestanding-playground-progress", "version": 1, "lessons": {"one": lesson}})


@pytest.fixture
def elsewhere(settings: Settings, course: Path, tmp_path: Path, inventory: LocalInventory) -> Iterator[FastAPI]:
    """Another playground with the same course."""
    other = settings.model_copy(update={"lessons_dir": course, "data_dir": tmp_path / "elsewhere"})
    made = create_app(other, backend=Backend(ScriptedEngine(), inventory))
    yield made
    made.state.playground.progress.close()


async def test_progress_moves_to_another_playground(learner: httpx.AsyncClient, elsewhere: FastAPI) -> None:
    await post(learner, main="// mine\n")
    await learner.post("/lessons/one/hints", data={"choice": "1"})
    exported = await learner.get("/export")
    assert re.search(
        r'attachment; filename="playground-progress-[\d-]+\.json"', exported.headers["content-disposition"]
    )
    assert exported.json()["lessons"].keys() == {"test/one"} or exported.json()["lessons"].keys() == {"one"}
    transport = httpx.ASGITransport(elsewhere, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as other:
        await other.get("/")
        await post(other, main="// typed here before\n")
        answer = await other.post("/import", files=upload(exported.content))
        assert answer.status_code == 303
        assert "Your progress in 1 step was added" in (await other.get(answer.headers["location"])).text
        page = (await other.get("/lessons/one")).text
        assert "// mine" in page
        assert "Your text from before you imported your progress is saved" in page
        again = (await other.get("/export")).json()
        assert again == exported.json()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"\xff\xfe",
        json.dumps({"format": "freestanding-playground-progress", "version": 2, "lessons": {}}),
        export_of(reached={"at": "2026-01-01T00:00:00", "toolchain": "1.96"}),
        export_of(reached={"at": "2026-01-01T00:00:00Z", "toolchain": "<b>"}),
        export_of(reached={"at": "0001-01-01T00:00:00+23:59", "toolchain": "1.96"}),
        export_of(reached={"at": "9999-12-31T23:59:59-23:59", "toolchain": "1.96"}),
        export_of(files={"src/main.rs": "x"}, opened=10**400),
        b"[" * 500_000,
        b'{"x":' * 100_000,
        b'{"lessons": {"one": {"opened": ' + b"9" * 500_000 + b"}}}",
        json.dumps(
            {"format": "freestanding-playground-progress", "version": 1, "lessons": {str(n): {} for n in range(501)}}
        ),
        export_of(files={str(number): "" for number in range(51)}),
        export_of(files={"src/main.rs": "\ud800"}),
        json.dumps({"format": "x", "version": 1, "lessons": {}}),
        json.dumps(
            {"format": "freestanding-playground-progress", "version": 1, "lessons": {"one": {"files": {"a": 1}}}}
        ),
    ],
)
async def test_a_file_that_is_no_export_changes_nothing(learner: httpx.AsyncClient, content: str | bytes) -> None:
    before = (await learner.get("/export")).content
    answer = await learner.post("/import", files=upload(content))
    assert answer.status_code == 422
    assert "not a progress file" in answer.text
    assert (await learner.get("/export")).content == before


@pytest.mark.parametrize(
    "content",
    ['{"lessons": {%s}}', '{"lessons": {"one": {"files": {%s}}}}'],
    ids=["lessons", "files"],
)
def test_countless_invalid_entries_are_one_mistake(content: str) -> None:
    entries = ", ".join(f'"{number}": 1' for number in range(1000))
    with pytest.raises(ValidationError) as refused:
        PortableProgress.model_validate_json(content % entries)
    assert refused.value.error_count() == 1


async def test_a_time_in_the_future_is_now_and_does_not_keep_a_seat_for_ever(
    app: FastAPI, learner: httpx.AsyncClient
) -> None:
    key = next(iter((await exported_after_a_run(learner)).keys()))
    lesson = {"reached": {"at": "9999-12-31T23:59:59Z", "toolchain": "1.96"}}
    document = {"format": "freestanding-playground-progress", "version": 1, "lessons": {key: lesson}}
    assert (await learner.post("/import", files=upload(json.dumps(document)))).status_code == 303
    soon = datetime.now(UTC) + timedelta(minutes=1)
    assert len(await app.state.playground.progress.purge(soon)) == 1


async def test_an_import_into_another_seat_or_onto_a_full_disk_changes_nothing(
    app: FastAPI, learner: httpx.AsyncClient
) -> None:
    """A document names no seat: whatever else it says, it is added to the seat that posts it."""
    lessons = await exported_after_a_run(learner)
    document = {"format": "freestanding-playground-progress", "version": 1, "lessons": lessons}
    own = (await learner.get("/export")).json()
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as other:
        await other.get("/")
        changed = json.loads(json.dumps(document).replace("// mine", "// theirs"))
        seat = {"seat": seat_of(learner.cookies), "seats": [seat_of(learner.cookies)], "owner": "x"}
        assert (await other.post("/import", files=upload(json.dumps(changed | seat)))).status_code == 303
        assert (await learner.get("/export")).json() == own
    store = app.state.playground.progress._store
    await store.rows("create trigger refuse before insert on files begin select raise(abort, 'disk full'); end")
    refused = await learner.post("/import", files=upload(json.dumps(changed)))
    assert refused.status_code == 503
    assert "cannot be stored (disk full)" in refused.text
    assert (await learner.get("/export")).json() == own


async def test_an_import_needs_a_cookie_and_room_on_the_disk(
    app: FastAPI, learner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    lessons = await exported_after_a_run(learner)
    document = json.dumps({"format": "freestanding-playground-progress", "version": 1, "lessons": lessons})

    async def seats() -> object:
        return await app.state.playground.progress._store.rows("select distinct seat from files")

    before = await seats()
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as fresh:
        refused = await fresh.post("/import", files=upload(document))
        assert refused.status_code == 403
        assert "Allow cookies for this site" in refused.text
        assert await seats() == before
        await fresh.get("/")
        with monkeypatch.context() as full:
            full.setattr("os.statvfs", lambda _: SimpleNamespace(f_bavail=49, f_blocks=1000, f_frsize=4096))
            refused = await fresh.post("/import", files=upload(document))
            assert refused.status_code == 507
            assert "nearly full" in refused.text
            assert await seats() == before
            full.setattr("os.statvfs", lambda _: SimpleNamespace(f_bavail=50, f_blocks=1000, f_frsize=4096))
            assert (await fresh.post("/import", files=upload(document))).status_code == 303


async def test_a_text_with_markup_stays_text(learner: httpx.AsyncClient) -> None:
    [key] = await exported_after_a_run(learner)
    markup = "</textarea><script>alert(1)</script><!-- \u202e -->"
    document = {
        "format": "freestanding-playground-progress",
        "version": 1,
        "lessons": {key: {"files": {"src/main.rs": markup}}, "<script>": {}},
    }
    assert (await learner.post("/import", files=upload(json.dumps(document)))).status_code == 303
    assert "<script>alert" not in (await learner.get("/lessons/one")).text
    assert (await learner.get("/export")).json()["lessons"][key]["files"]["src/main.rs"] == markup


async def test_an_import_without_a_file_is_refused(learner: httpx.AsyncClient) -> None:
    assert (await learner.post("/import", data={"progress": "text"})).status_code == 422


async def test_what_this_playground_does_not_have_is_left_out(learner: httpx.AsyncClient) -> None:
    lesson = {
        "files": {"src/main.rs": "// brought\n", "../../etc/passwd": "x", "Cargo.lock": "x"},
        "reached": {"at": "2026-01-01T00:00:00+00:00", "toolchain": "1.96"},
        "opened": 1000,
        "prediction": {"choice": "no-such-option"},
    }
    key = next(iter((await exported_after_a_run(learner)).keys()))
    document = {"format": "freestanding-playground-progress", "version": 1, "lessons": {"nowhere": lesson, key: lesson}}
    answer = await learner.post("/import", files=upload(json.dumps(document)))
    assert answer.headers["location"] == "/?imported=1"
    [(_, found)] = (await learner.get("/export")).json()["lessons"].items()
    assert found["files"]["src/main.rs"] == "// brought\n"
    assert found["files"].keys() <= {"src/main.rs", "Cargo.toml"}
    assert found["reached"] == {"at": "2026-01-01T00:00:00Z", "toolchain": "1.96"}
    assert found["opened"] < 10
    assert "prediction" not in found
    nothing = {"format": "freestanding-playground-progress", "version": 1, "lessons": {"nowhere": lesson}}
    answer = await learner.post("/import", files=upload(json.dumps(nothing)))
    assert "nothing was added" in (await learner.get(answer.headers["location"])).text


async def exported_after_a_run(learner: httpx.AsyncClient) -> dict[str, object]:
    await post(learner, main="// mine\n")
    lessons: dict[str, object] = (await learner.get("/export")).json()["lessons"]
    return lessons


async def test_a_text_that_is_too_long_is_refused_before_anything_is_stored(learner: httpx.AsyncClient) -> None:
    lessons = await exported_after_a_run(learner)
    [key] = lessons
    long = {"files": {"src/main.rs": "x" * 100_000}, "opened": 1}
    document = {"format": "freestanding-playground-progress", "version": 1, "lessons": {key: long}}
    assert (await learner.post("/import", files=upload(json.dumps(document)))).status_code == 422
    assert (await learner.get("/export")).json()["lessons"] == lessons
