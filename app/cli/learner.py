"""Simulated learners, for the rehearsal of a class and for load tests.

A ``Browser`` opens pages, posts runs and follows their streams as a browser with scripts does. It depends on nothing of
the server's code, so a server elsewhere can be loaded, too::

    async with Browser(url) as browser:
        await browser.open("/lessons/hello-std")
        ran = await browser.run("/lessons/hello-std", "cargo build", {"src/main.rs": "fn main() {}"})

A ``SimulatedLearner`` uses one to take part in a class.
"""

import html
import random
import re
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from typing import Any, Self
from urllib.parse import urljoin

import anyio
import httpx

from app.course import Lesson

_STREAM = re.compile(r'hx-sse:connect="([^"]+)"')
_ASSETS = re.compile(r'(?:href|src)="([^"]+/static/[^"]+\.(?:css|js)|/static/[^"]+\.(?:css|js))"')
_STRIP = re.compile(r'hx-get="([^"]*/class/strip[^"]*)" hx-trigger="every (\d+)ms"')
_TIMEOUT = 120.0
_LIMITS = httpx.Limits(keepalive_expiry=2.0)
"""Idle connections end before the server closes them."""
_CLOSED = (httpx.ReadError, httpx.RemoteProtocolError)
"""Errors of a request on an idle connection that the server closed meanwhile. Browsers send such a request again."""
_NAMES = (
    *("Ada", "Grace", "Linus", "Barbara", "Edsger", "Margaret", "Dennis", "Radia", "Ken", "Frances", "Niklaus"),
    *("Sophie", "Alan", "Hedy", "Donald", "Katherine", "Tony", "Adele", "Bjarne", "Mary", "Guido", "Joan"),
)


@dataclass(frozen=True)
class Ran:
    """A run that has ended: the seconds from the post to the first event and to the end of the stream.

    ``refused`` is the status with which the post was refused; then the seconds are those of that answer.
    """

    first: float
    seconds: float
    refused: int | None = None


class Browser:
    """A browser with a seat of its own, which it gets with its first page. Methods raise ``httpx.HTTPError``.

    ``url`` is the playground's, without a slash at its end. ``address`` is the one that the browser claims to have, as
    through a proxy; the rates of requests count it if the server trusts this machine as a proxy.
    """

    def __init__(self, url: str, address: str | None = None) -> None:
        self._url = url
        headers = {"accept-encoding": "gzip"} | ({"x-forwarded-for": address} if address else {})
        # Not the environment's proxies, which do not know this machine.
        self._client = httpx.AsyncClient(
            timeout=_TIMEOUT, headers=headers, limits=_LIMITS, verify=_tls(), trust_env=False
        )
        self._cached: set[str] = set()
        self.failed = 0
        """The number of times that the strip could not be fetched. A page tries again, so that is no error here."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(self, path: str) -> str:
        """Return a page, or a part of one."""
        return (await self._send("GET", f"{self._url}{path}")).raise_for_status().text

    async def post(self, path: str, form: Mapping[str, str], *, by_htmx: bool = True) -> httpx.Response:
        """Post a form and return the answer, which may be a refusal."""
        headers = {"hx-request": "true"} if by_htmx else {}
        return await self._send("POST", f"{self._url}{path}", data=dict(form), headers=headers)

    async def open(self, path: str = "/") -> float:
        """Load a page, and the style sheets and scripts that are not in the cache; return the seconds."""
        began = time.perf_counter()
        page = await self._send("GET", f"{self._url}{path}")
        page.raise_for_status()
        fresh = {urljoin(str(page.url), found) for found in _ASSETS.findall(page.text)} - self._cached
        self._cached |= fresh
        try:
            async with anyio.create_task_group() as group:
                for asset in fresh:
                    group.start_soon(self._send, "GET", asset)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return time.perf_counter() - began

    async def run(self, address: str, command: str, files: Mapping[str, str]) -> Ran:
        """Post the files of the lesson at ``address`` with the command, and follow the run to its end."""
        form = {f"file:{path}": text for path, text in files.items()} | {"command": command}
        began = time.perf_counter()
        answer = await self.post(f"{address}/runs", form)
        if answer.status_code != httpx.codes.OK:
            took = time.perf_counter() - began
            return Ran(took, took, answer.status_code)
        stream = _STREAM.search(answer.text)
        assert stream, answer.text[:500]
        first = 0.0
        async with aclosing(self.messages(stream[1])) as messages:
            async for message in messages:
                first = first or time.perf_counter() - began
                if message.startswith("event: run-done\n"):
                    break
        return Ran(first, time.perf_counter() - began)

    async def messages(self, address: str) -> AsyncGenerator[str]:
        """Yield the messages of an event stream, whose address a page gave, until it ends."""
        where = urljoin(self._url, html.unescape(address))
        request = self._client.build_request("GET", where, headers={"accept": "text/event-stream"})
        try:
            answer = await self._client.send(request, stream=True)
        except _CLOSED:
            answer = await self._client.send(request, stream=True)
        try:
            message = ""
            async for line in answer.raise_for_status().aiter_lines():
                message += f"{line}\n"
                if not line:
                    yield message
                    message = ""
        finally:
            await answer.aclose()

    async def watch_strip(self, at: str, seen: Callable[[str], None]) -> None:
        """Ask for the class's strip as often as the page of the step ``at`` does, and pass on each new one.

        Ends when there is no class, or the seat is no member of it.
        """
        strip = await self.get(f"/class/strip?at={at}")
        while asks := _STRIP.search(strip):
            seen(strip)
            strip = ""
            while not strip:
                await anyio.sleep(int(asks[2]) / 1000)
                strip = await self._newer_strip(urljoin(self._url, html.unescape(asks[1])))

    async def _newer_strip(self, url: str) -> str:
        """Return the strip; empty if it has not changed, or cannot be fetched."""
        try:
            return (await self._send("GET", url)).raise_for_status().text
        except httpx.HTTPError:
            self.failed += 1
            return ""

    async def _send(self, method: str, url: str, **options: Any) -> httpx.Response:
        try:
            return await self._client.request(method, url, **options)
        except _CLOSED:
            return await self._client.request(method, url, **options)


@cache
def _tls() -> ssl.SSLContext:
    """Return the context for TLS, which takes too long to make for each of a hundred browsers."""
    return ssl.create_default_context()


class SimulatedLearner:
    """A learner who joins the class, reads, predicts, runs, opens hints, and raises their hand.

    ``skill`` from 0 to 1 is how often a run has the solution's files instead of those of the step. The same ``number``
    does the same things. ``thinks`` are the seconds between two actions, at least and at most. ``ran`` receives each
    run, ``seen`` each new strip of the class. Methods raise ``httpx.HTTPError``.
    """

    def __init__(
        self,
        browser: Browser,
        number: int,
        skill: float = 0.5,
        thinks: tuple[float, float] = (4.0, 25.0),
        ran: Callable[[Ran], None] = lambda _ran: None,
        seen: Callable[[str], None] = lambda _strip: None,
    ) -> None:
        self.browser = browser
        self._skill = skill
        self._thinks = thinks
        self._raised = False
        self._random = random.Random(number)  # noqa: S311  (no secret)
        self._ran = ran
        self._seen = seen
        self.name = f"{_NAMES[number % len(_NAMES)]} {number + 1}"

    async def join(self, code: str = "") -> None:
        """Get a seat from the course map, and join the class; wait if too many others join in the same minute."""
        await self.browser.open()
        while True:
            answer = await self.browser.post("/class/join", {"name": self.name, "code": code}, by_htmx=False)
            if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                break
            await anyio.sleep(float(answer.headers["retry-after"]))
        if answer.is_error:
            answer.raise_for_status()

    async def open(self, lesson: Lesson) -> None:
        """Read a step, and answer its question."""
        await self.browser.open(lesson.address)
        if lesson.prediction:
            choice = self._random.choice(lesson.prediction.option).id
            await self.browser.post(f"{lesson.address}/predict", {"choice": choice})

    async def try_once(self, lesson: Lesson) -> bool:
        """Run the step once and wait for the end; return True if the files were those of the solution."""
        able = self._random.random() < self._skill
        files = lesson.solution if able else lesson.files
        given = {path: files[path] for path in lesson.editable}
        self._ran(await self.browser.run(lesson.address, lesson.commands[0], given))
        return able

    async def hand(self, lesson: Lesson, *, raised: bool) -> None:
        """Raise the hand, or lower it."""
        self._raised = raised
        await self.browser.post("/class/hand", {"raised": "1" if raised else "", "at": lesson.key})

    async def live(self, lessons: Sequence[Lesson]) -> None:
        """Take the steps in order, again and again, until cancelled, with time to think between two actions."""
        for lesson in cycle(lessons):
            await self.open(lesson)
            try:
                async with anyio.create_task_group() as page:
                    page.start_soon(self.browser.watch_strip, lesson.key, self._seen)
                    await self._take(lesson)
                    page.cancel_scope.cancel()
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None

    async def _take(self, lesson: Lesson) -> None:
        opened = 0
        while True:
            await self._think()
            if await self.try_once(lesson):
                break
            chance = self._random.random()
            if opened < len(lesson.hints) and chance < 0.3:
                opened += 1
                await self.browser.post(f"{lesson.address}/hints", {"choice": str(opened)})
            elif chance > 0.9:
                await self.hand(lesson, raised=True)
        if self._raised:
            await self.hand(lesson, raised=False)

    async def _think(self) -> None:
        await anyio.sleep(self._random.uniform(*self._thinks))
