"""A simulated learner: it opens pages, posts runs and follows their streams as a browser with scripts does.

Nothing here depends on the server's code, so a server elsewhere can be loaded, too. ``bench.load`` uses it like this::

    async with Learner(url) as learner:
        await learner.open("/lessons/hello-std")
        ran = await learner.run("/lessons/hello-std", "cargo build", {"src/main.rs": "fn main() {}"})
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urljoin

import anyio
import httpx

_STREAM = re.compile(r'hx-sse:connect="([^"]+)"')
_ASSETS = re.compile(r'(?:href|src)="([^"]+/static/[^"]+\.(?:css|js)|/static/[^"]+\.(?:css|js))"')
_TIMEOUT = 120.0


@dataclass(frozen=True)
class Ran:
    """A run that has ended: the seconds from the post to the first event and to the end of the stream.

    ``refused`` is the status with which the post was refused; then the seconds are those of that answer.
    """

    first: float
    seconds: float
    refused: int | None = None


class Learner:
    """A browser with a seat of its own, which it gets with its first page. Methods raise ``httpx.HTTPError``."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=_TIMEOUT, headers={"accept-encoding": "gzip"})
        self._cached: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def open(self, path: str = "/") -> float:
        """Load a page, and the style sheets and scripts that are not in the cache; return the seconds."""
        began = time.perf_counter()
        page = await self._client.get(path)
        page.raise_for_status()
        fresh = {urljoin(str(page.url), found) for found in _ASSETS.findall(page.text)} - self._cached
        self._cached |= fresh
        async with anyio.create_task_group() as group:
            for asset in fresh:
                group.start_soon(self._client.get, asset)
        return time.perf_counter() - began

    async def run(self, address: str, command: str, files: Mapping[str, str]) -> Ran:
        """Post the files of the lesson at ``address`` with the command, and follow the run to its end."""
        form = {f"file:{path}": text for path, text in files.items()} | {"command": command}
        began = time.perf_counter()
        answer = await self._client.post(f"{address}/runs", data=form, headers={"hx-request": "true"})
        if answer.status_code != httpx.codes.OK:
            took = time.perf_counter() - began
            return Ran(took, took, answer.status_code)
        stream = _STREAM.search(answer.text)
        assert stream, answer.text[:500]
        first = await self._follow(stream[1], began)
        return Ran(first, time.perf_counter() - began)

    async def _follow(self, path: str, began: float) -> float:
        """Read the stream of a run to its end; return the seconds from ``began`` to its first message."""
        first = 0.0
        async with self._client.stream("GET", path, headers={"accept": "text/event-stream"}) as stream:
            stream.raise_for_status()
            async for line in stream.aiter_lines():
                first = first or time.perf_counter() - began
                if line == "event: run-done":
                    break
        return first
