"""Clients that run a mix of commands whatever dies meanwhile, and note what they were told."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import anyio
import httpx

from app.course import Lesson
from tests.support.clients import seat_of

_PATIENCE = 120.0
"""Seconds after the end of the load in which every accepted run must have ended."""
_PAUSE = 0.1
SLOW = """use std::{thread::sleep, time::Duration};

fn main() {
    for turn in 0..20 {
        println!("turn {turn}");
        sleep(Duration::from_millis(100));
    }
}
"""
ENDLESS = SLOW.replace("0..20", "0..")
BROKEN = "fn main() { missing() }\n"


@dataclass(frozen=True)
class Kind:
    """A kind of run: its lesson, command and files. One with ``cancels`` is cancelled once it prints something."""

    name: str
    lesson: str
    command: str
    files: Mapping[str, str]
    cancels: bool = False


def kinds(lessons: Mapping[str, Lesson]) -> list[Kind]:
    """Return the mix: most runs are short, one in six prints for two seconds, one in six is cancelled."""
    link = lessons["linker-arguments"]
    solved = {path: link.solution[path] for path in link.editable}
    build = Kind("build", link.slug, "cargo rustc -- -C link-arg=-nostartfiles", solved)
    std = lessons["hello-std"].slug
    return [
        build,
        build,
        Kind("look", std, "rustc --version", {}),
        Kind("error", std, "cargo build", {"src/main.rs": BROKEN}),
        Kind("slow", std, "cargo run", {"src/main.rs": SLOW}),
        Kind("cancel", std, "cargo run", {"src/main.rs": ENDLESS}, cancels=True),
    ]


@dataclass
class Ran:
    """A run that was accepted, and the events that its reader got."""

    kind: Kind
    id: str
    seat: str
    cookie: str
    events: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    cancelled: bool = False
    at: list[float] = field(default_factory=list)
    """The time of each event."""

    @property
    def is_complete(self) -> bool:
        """Return True if the reader got the verdict."""
        return bool(self.events) and self.events[-1]["type"] == "verdict"

    @property
    def how(self) -> str:
        """How the run ended."""
        end = next((event for event in self.events if event["type"] == "finished"), {"status": "not at all"})
        return str(end.get("reason") or end["status"])

    def take(self, number: int, event: dict[str, Any]) -> None:
        """Note an event, and whether it is the next one."""
        if number != len(self.events) + 1 or event["id"] != number:
            self.wrong.append(f"event {number} came after {len(self.events)} events")
        if self.is_complete:
            self.wrong.append(f"{event['type']} came after the verdict")
        self.events.append(event)
        self.at.append(time.monotonic())


class Crowd:
    """Clients of one address, in a thread of their own. ``reached`` returns the seats whose step is stored."""

    def __init__(self, url: str, mix: Sequence[Kind], clients: int, reached: Callable[[str], set[str]]) -> None:
        self._url = url
        self._mix = mix
        self._clients = clients
        self._reached = reached
        self._until = float("inf")
        self.runs: list[Ran] = []
        self.refused: Counter[str] = Counter()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Post no further runs, and wait until those that were accepted have ended."""
        self._until = min(self._until, time.monotonic())
        self._thread.join()
        if self._failed:
            raise self._failed

    def wrong(self) -> list[str]:
        """Return a line for each run that did not end as promised."""
        found = [f"{ran.kind.name} {ran.id}: {why}" for ran in self.runs for why in ran.wrong]
        return found + [
            f"{ran.kind.name} {ran.id}: no verdict after {len(ran.events)} events"
            for ran in self.runs
            if not ran.is_complete
        ]

    def _work(self) -> None:
        try:
            anyio.run(self._all)
        except BaseException as error:
            self._failed = error

    async def _all(self) -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(self._clients):
                tasks.start_soon(self._client, random.Random(number))

    async def _client(self, rng: random.Random) -> None:
        while time.monotonic() < self._until:
            await self._run(rng.choice(self._mix))

    async def _run(self, kind: Kind) -> None:
        """Be a new seat with one run. Only its step can then be the one that is stored."""
        async with httpx.AsyncClient(base_url=self._url, timeout=10) as client:
            ran = await self._post(client, kind)
            if ran is not None:
                self.runs.append(ran)
                await self._follow(client, ran)

    async def _post(self, client: httpx.AsyncClient, kind: Kind) -> Ran | None:
        body = {"lesson": kind.lesson, "command": kind.command, "files": kind.files}
        while time.monotonic() < self._until:
            try:
                if not client.cookies:
                    (await client.get("/")).raise_for_status()
                answer = await client.post("/api/runs", json=body)
                if answer.status_code == httpx.codes.ACCEPTED:
                    cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
                    return Ran(kind, answer.json()["id"], seat_of(client.cookies), cookie)
                self.refused[answer.json()["error"]["code"]] += 1
            except httpx.HTTPError as error:
                self.refused[type(error).__name__] += 1
            await anyio.sleep(_PAUSE)
        return None

    async def _follow(self, client: httpx.AsyncClient, ran: Ran) -> None:
        """Read the run to its verdict, however often the connection ends."""
        while not ran.is_complete and time.monotonic() < self._until + _PATIENCE and not ran.wrong:
            try:
                await self._read(client, ran)
            except httpx.HTTPError:
                await anyio.sleep(_PAUSE)

    async def _read(self, client: httpx.AsyncClient, ran: Ran) -> None:
        headers = {"Last-Event-ID": str(len(ran.events))}
        async with client.stream("GET", f"/api/runs/{ran.id}/events", headers=headers) as answer:
            if answer.status_code == httpx.codes.NOT_FOUND:
                ran.wrong.append("it is unknown, although it was accepted")
            answer.raise_for_status()
            number, data = 0, ""
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    data = line.removeprefix("data: ")
                elif line.startswith("id: "):
                    number = int(line.removeprefix("id: "))
                elif not line and data:
                    ran.take(number, json.loads(data))
                    data = ""
                    await self._react(client, ran)
        await anyio.sleep(0 if ran.is_complete else _PAUSE)

    async def _react(self, client: httpx.AsyncClient, ran: Ran) -> None:
        last = ran.events[-1]
        if last["type"] == "verdict" and last["reached"] and last.get("stored", True):
            if ran.seat not in self._reached(ran.kind.lesson):
                ran.wrong.append("the verdict came before its progress was stored")
        elif ran.kind.cancels and not ran.cancelled and last["type"] == "output" and "turn" in last["text"]:
            # While the web or the broker is away this fails; the next line of output tries again.
            with suppress(httpx.HTTPError):
                ran.cancelled = (await client.delete(f"/api/runs/{ran.id}")).is_success
