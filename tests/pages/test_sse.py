"""Event streams: a run's output stays data, in the framing and in the page."""

import json
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import anyio
import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.protocol.events import Artifact, Check, Diagnostic, Event, Finished, Output, Verdict
from app.web.pages.panel import with_interruptions
from app.web.sse import frame
from tests.support.scripted import ScriptedEngine, post

HOSTILE = st.lists(
    st.sampled_from(
        [
            *("\n", "\r", "\r\n", "\n\n", "\r\r", "\0", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\ufeff"),
            *(
                "data: x",
                "event: run-done",
                "id: 999",
                "retry: 1",
                ": note",
                "id: 1\n\n",
                "\nevent: run-done\ndata:\n\n",
            ),
            *("<script>alert(1)</script>", "</pre>", "</hx-partial>", "<hx-partial hx-target='body'>", "<!--", "]]>"),
            *("&lt;", "'\"`", "javascript:alert(1)", "{{ 7*7 }}", "{% raw %}", "\x1b[31m", "\x1b]8;;javascript:x\x07"),
            *("<img src=x onerror=alert(1)>", "\x1b[", "\x1b]", "\x9b31m", "<svg/onload=x>", "hx-get=/forget"),
        ]
    )
    | st.text(max_size=6),
    max_size=12,
).map("".join)


def read(stream: bytes) -> list[dict[str, str]]:
    """Parse a stream into messages by the rules of the HTML standard."""
    text = stream.decode().removeprefix("\ufeff")
    messages: list[dict[str, str]] = []
    message: dict[str, str] = {}
    for line in re.split(r"\r\n|\r|\n", text):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line and message:
            messages.append(message)
            message = {}
        elif name == "data":
            message["data"] = f"{message['data']}\n{value}" if "data" in message else value
        elif name in ("event", "id", "retry"):
            message[name] = value
    assert not message, "a message without its end"
    return messages


@given(st.lists(st.tuples(HOSTILE, st.integers(1)), max_size=4))
@example([("\nid: 7\nevent: x\n\n", 1)])
def test_any_data_survives_the_framing(sent: list[tuple[str, int]]) -> None:
    received = read(b"".join(frame(data, number) for data, number in sent))
    expected = [{"data": re.sub(r"\r\n?", "\n", data), "id": str(number)} for data, number in sent]
    assert received == expected


@given(HOSTILE)
def test_json_comes_out_to_the_letter(text: str) -> None:
    [message] = read(frame(json.dumps({"text": text}), 1))
    assert json.loads(message["data"]) == {"text": text}


class _Elements(HTMLParser):
    """Collects the elements and attributes of a page, without texts."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[str, ...]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if attrs in ([("class", "lines")], [("class", "lines many")]) or (tag == "span" and not attrs):
            return  # the terminal's elements for whole lines and for the text between them
        self.seen.append((tag, tuple(name for name, _ in attrs)))

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")


def elements(html: str) -> list[tuple[str, tuple[str, ...]]]:
    """Return the elements, without those for terminal lines, colours and code words."""
    parser = _Elements()
    parser.feed(html)
    parser.close()
    return [(tag, names) for tag, names in parser.seen if (tag, names) not in {("span", ("class",)), ("code", ())}]


def log_of(text: str) -> tuple[Event, ...]:
    """Return the log of a run with this text in every field that a run controls."""
    return (
        Output(id=1, stream="stdout", text=text),
        Diagnostic.model_validate(
            {"id": 2, "level": "error", "code": text or None, "message": text, "rendered": text, "class": "gone"}
        ),
        Artifact(
            id=3,
            path=f"target/debug/{text}",
            bytes=1,
            sha256=text,
            format="ELF",
            machine=text,
            entry=1,
            entry_symbol=text,
            needed=(text,),
            interpreter=text,
        ),
        Finished(id=4, status="failed", exit_code=1, seconds=0.1),
        Verdict(id=5, reached=False, checks=(Check(id="a", title=text, ok=False, detail=text or "x"),)),
    )


@pytest.mark.anyio
async def test_nothing_that_a_run_says_becomes_markup_or_a_message(
    learner: httpx.AsyncClient, engine: ScriptedEngine, app: FastAPI
) -> None:
    await post(learner, htmx=True)
    cookies = dict(learner.cookies)

    async def shown(text: str) -> tuple[list[dict[str, str]], str]:
        engine.log = log_of(text)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", cookies=cookies) as client:
            stream = await client.get(f"/runs/{1:032x}/events")
            return read(stream.content), (await client.get("/lessons/one")).text

    plain, plain_page = await shown("x")

    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(HOSTILE.filter(str.strip))
    def hostile(text: str) -> None:
        sent, page = anyio.from_thread.run(shown, text)
        assert [(each.get("id"), each.get("event")) for each in sent] == [
            (each.get("id"), each.get("event")) for each in plain
        ]
        for one, other in zip(sent, plain, strict=True):
            assert elements(one["data"]) == elements(other["data"])
        assert elements(page) == elements(plain_page)

    await anyio.to_thread.run_sync(hostile)


@pytest.mark.anyio
async def test_a_page_is_told_while_no_events_can_come(
    learner: httpx.AsyncClient, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.pages.panel._LOOK_SECONDS", 0.01)
    said, go_on = "", anyio.Event()

    async def frames() -> AsyncIterator[bytes]:
        yield b"first"
        await go_on.wait()
        yield b"second"

    stream = with_interruptions(frames(), lambda: said)
    assert await anext(stream) == b"first"
    said = "The <workers> are away."
    assert b"<p>The &lt;workers&gt; are away.</p></hx-partial>" in await anext(stream)
    said = ""
    assert b'hx-target="#problem" hx-swap="innerHTML"></hx-partial>' in await anext(stream)
    go_on.set()
    assert [one async for one in stream] == [b"second"]

    await post(learner, htmx=True)
    for engine.interrupted, shown in ((None, False), ("", False), ("The workers are away.", True)):
        answer = await learner.get(f"/runs/{1:032x}/events")
        assert ("#problem" in answer.text, "The workers are away." in answer.text) == (shown, shown)
        assert answer.text.endswith("event: run-done\ndata: \n\n")
