"""Static files: compressed once, and never older than the file on disk."""

import gzip
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from app.web.files import Files

SHEET = b"main { color: black }\n" * 200


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "site.css").write_bytes(SHEET)
    (tmp_path / "small.css").write_bytes(b"p {}")
    return tmp_path


@pytest.fixture
async def reader(folder: Path) -> Any:
    app = FastAPI()
    app.mount("/static", Files(folder))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost/static/") as client:
        yield client


@pytest.fixture
def compressed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the compressed inputs."""
    sizes: list[int] = []
    compress = gzip.compress

    def counted(data: bytes, *args: Any, **options: Any) -> bytes:
        sizes.append(len(data))
        return compress(data, *args, **options)

    monkeypatch.setattr(gzip, "compress", counted)
    return sizes


@pytest.mark.anyio
async def test_a_file_is_compressed_once_for_all_readers(reader: httpx.AsyncClient, compressed: list[int]) -> None:
    for _ in range(20):
        answer = await reader.get("site.css")
        assert answer.headers["content-encoding"] == "gzip"
        assert int(answer.headers["content-length"]) < len(SHEET) / 10
        assert answer.headers["content-type"].startswith("text/css")
        assert answer.content == SHEET
    assert compressed == [len(SHEET)]


@pytest.mark.anyio
async def test_a_file_that_changes_is_compressed_anew(
    reader: httpx.AsyncClient, folder: Path, compressed: list[int]
) -> None:
    first = await reader.get("site.css")
    (folder / "site.css").write_bytes(SHEET.replace(b"black", b"white"))
    os.utime(folder / "site.css", (1, 1))
    second = await reader.get("site.css")
    assert b"white" in second.content
    assert second.headers["etag"] != first.headers["etag"]
    assert len(compressed) == 2


@pytest.mark.anyio
async def test_what_a_reader_has_is_not_sent_again(reader: httpx.AsyncClient, compressed: list[int]) -> None:
    tag = (await reader.get("site.css")).headers["etag"]
    again = await reader.get("site.css", headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert len(compressed) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("site.css", {"accept-encoding": "identity"}),
        ("site.css", {"range": "bytes=0-9999999"}),
        ("small.css", {}),
    ],
    ids=["as it is", "a range", "a small file"],
)
async def test_a_file_is_sent_uncompressed_on_request_or_if_shorter(
    reader: httpx.AsyncClient, folder: Path, compressed: list[int], name: str, headers: dict[str, str]
) -> None:
    answer = await reader.get(name, headers=headers)
    assert answer.headers.get("content-encoding", "identity") == "identity"
    assert answer.content == (folder / name).read_bytes()
    assert not compressed


@pytest.mark.anyio
async def test_a_part_of_a_file_is_not_compressed_for_each_request(folder: Path) -> None:
    app = FastAPI()
    app.mount("/static", Files(folder))
    packing = GZipMiddleware(app, minimum_size=1000)
    wanted = {"range": "bytes=0-1999", "accept-encoding": "gzip"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(packing), base_url="http://localhost") as client:
        part = await client.get("/static/site.css", headers=wanted)
    assert part.status_code == 206
    assert part.headers["content-encoding"] == "identity"
    assert part.content == SHEET[:2000]


@pytest.mark.anyio
async def test_the_head_of_an_answer_says_how_long_it_is(reader: httpx.AsyncClient) -> None:
    head = await reader.head("site.css")
    whole = await reader.get("site.css")
    assert head.content == b""
    assert head.headers["content-length"] == whole.headers["content-length"]
