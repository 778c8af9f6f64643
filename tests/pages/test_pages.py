"""The pages over HTTP, with a scripted engine: forms, fragments, streams, files."""

import hashlib
import re
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel
import httpx
import pytest
from fastapi import FastAPI

from app.course import Shelf
from app.engine import (
    OwnerQueueFullError,
    QueueFullError,
)
from app.engine.inventory import LocalInventory
from app.engine.targets import Targets
from app.progress.schema import TABLES
from app.protocol.command import parse
from app.protocol.events import Output, Verdict
from app.settings import Settings
from app.toolchain import Demand
from app.web.readiness import ReadinessCheck
from app.web.state import Playground
from tests.support.clients import seat_of
from tests.support.environment import BARE_METAL
from tests.support.scripted import BUILT, HTMX, LOG, ScriptedEngine, ScriptedToolchains, post

pytestmark = pytest.mark.anyio


def first(playground: Playground, **changes: object) -> None:
    """Change fields of the course's first lesson."""
    course = playground.shelf.default
    [part] = course.parts
    lesson, *others = part.lessons
    parts = (replace(part, lessons=(replace(lesson, **changes), *others)),)  # type: ignore[arg-type]  # fields of several types
    playground.shelf = Shelf((replace(course, parts=parts),))


def messages(body: str) -> list[Mapping[str, str]]:
    """Parse an event stream into messages, each with its fields."""
    found: list[Mapping[str, str]] = []
    for block in body.strip().split("\n\n"):
        fields: dict[str, str] = {}
        for line in block.splitlines():
            name, _, value = line.partition(": ")
            fields[name] = f"{fields[name]}\n{value}" if name in fields else value
        found.append(fields)
    return found


async def test_the_course_map(learner: httpx.AsyncClient) -> None:
    page = (await learner.get("/")).text
    assert page.count('<li class="step">') == 3
    assert "Start: Step <code>one</code>" in page
    assert "0 of 3 steps reached" in page
    assert "An Author" in page
    assert '<a href="https://example.org/licence" rel="noopener">free</a>' in page
    assert 'href="https://example.org/a-post/"' in page
    assert 'action="/forget"' in page


async def test_the_map_knows_where_the_learner_was(learner: httpx.AsyncClient) -> None:
    await post(learner, "/lessons/two/runs")
    assert "Continue: Step <code>two</code>" in (await learner.get("/")).text


async def test_reached_steps_are_marked_and_the_next_open_one_is_offered(
    learner: httpx.AsyncClient, app: FastAPI
) -> None:
    await post(learner, "/lessons/two/runs")
    await app.state.playground.progress.mark(seat_of(learner.cookies), "two", "1.99")
    page = (await learner.get("/")).text
    assert page.count('<li class="step done">') == 1
    assert "Continue: Step <code>three</code>" in page
    for slug in ("one", "three"):
        await app.state.playground.progress.mark(seat_of(learner.cookies), slug, "1.99")
    assert "All 3 steps of the post reached." in (await learner.get("/")).text


async def test_a_lesson_page(learner: httpx.AsyncClient) -> None:
    page = (await learner.get("/lessons/two")).text
    assert "<title>Step two" in page
    assert "https://example.org/a-post/#a-section" in page
    assert "Text &lt;b&gt;of&lt;/b&gt; two." in page
    assert 'name="file:src/main.rs"' in page
    assert 'name="file:Cargo.toml"' not in page, "a file that cannot be edited is not sent"
    assert "read-only" in page
    assert 'value="cargo build" required' in page
    assert page.count('name="offered"') == 2
    assert "Show a hint" in page
    assert "First" not in page, "a hint is opened when it is asked for"
    assert "// two" not in page, "the solution, too"
    assert '<option value="1.99" selected>' in page
    assert 'href="/lessons/one" rel="prev"' in page
    assert 'href="/lessons/three" rel="next"' in page
    assert "Nothing has run yet." in page


@pytest.fixture
def wanting(app: FastAPI, inventory: LocalInventory, demand: Demand) -> LocalInventory:
    """An inventory whose first lesson needs a target that no toolchain has and whose set-up fails."""
    first(app.state.playground, target=BARE_METAL)
    inventory.targets = Targets([BARE_METAL], demand)
    return inventory


async def test_a_step_whose_target_is_missing_has_it_set_up_and_says_so(
    learner: httpx.AsyncClient, wanting: LocalInventory, machine: ScriptedToolchains
) -> None:
    page = (await learner.get("/lessons/one")).text
    assert "is setting up <code>core</code> for this step: <code>thumbv7em-none-eabihf</code>" in page
    assert 'hx-get="/lessons/one/targets" hx-trigger="load delay:2s"' in page
    assert "1.99: cannot build this step" in page
    assert "being set up" not in (await learner.get("/lessons/two")).text
    assert 'hx-get="/lessons/one/targets"' in (await learner.get("/lessons/one/targets")).text
    (toolchain, *others) = machine.toolchains
    machine.toolchains = (replace(toolchain, targets={BARE_METAL: "built", **toolchain.targets}), *others)
    machine.answers.set()
    await wanting.refresh()
    ready = (await learner.get("/lessons/one/targets")).text
    assert "Ready:" in ready
    assert "hx-get" not in ready
    assert '<hx-partial hx-target="#toolchain"' in ready
    assert ">1.99</option>" in ready


async def test_a_run_without_scripts_that_waits_for_a_target_is_shown_waiting(
    learner: httpx.AsyncClient, wanting: LocalInventory, engine: ScriptedEngine
) -> None:
    del wanting
    engine.preparing = True
    answer = await post(learner, command="cargo build --target thumbv7em-none-eabihf")
    assert (answer.status_code, answer.headers["location"]) == (303, "/lessons/one")
    engine.state = "queued"
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in (await learner.get("/lessons/one")).text


async def test_a_target_that_cannot_be_set_up_says_what_mends_it(
    learner: httpx.AsyncClient, wanting: LocalInventory, machine: ScriptedToolchains, demand: Demand
) -> None:
    machine.mended_by = "mend --it"
    machine.answers.set()
    await learner.get("/lessons/one")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wanting.work)
        await demand.settled((BARE_METAL,), print)
        tasks.cancel_scope.cancel()
    page = (await learner.get("/lessons/one")).text
    assert "There is no <code>core</code> for it." in page
    assert "rustup could not: no network" in page
    assert "<code>mend --it</code>" in page
    assert "mend --it" not in (await learner.get("/lessons/two")).text
    command = parse(f"cargo build --target {BARE_METAL}")
    assert wanting.targets.pending(command, {}, machine.toolchains) == (), "what cannot come is not waited for"


async def test_a_step_whose_program_is_missing_says_what_mends_it(app: FastAPI, learner: httpx.AsyncClient) -> None:
    playground: Playground = app.state.playground
    first(playground, needs=("qemu-system-nothing", "readelf"))
    page = (await learner.get("/lessons/one")).text
    assert "This step needs <code>qemu-system-nothing</code>, which" in page
    assert "This step needs" not in (await learner.get("/lessons/two")).text


async def test_without_scripts_a_run_answers_with_the_finished_page(
    learner: httpx.AsyncClient, engine: ScriptedEngine
) -> None:
    answer = await post(learner, main="fn a() {}\r\nfn b() {}\r\n", toolchain="1.98")
    assert answer.status_code == 200
    assert engine.jobs[0].files["src/main.rs"] == "fn a() {}\nfn b() {}\n"
    assert engine.jobs[0].toolchain == "1.98"
    assert engine.jobs[0].attended
    assert "red &lt;/pre&gt;&lt;script&gt;" in answer.text
    assert "This is the error we came for." in answer.text
    assert "Failed as expected after" in answer.text
    assert "fn a() {}\nfn b() {}\n</textarea>" in answer.text
    assert '<option value="1.98" selected>' in answer.text
    assert "hx-sse:connect" not in answer.text


async def test_an_offered_command_wins_over_the_line(learner: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    answer = await post(learner, command="cargo run", offered="cargo check", htmx=True)
    assert engine.jobs[0].command.argv == ("cargo", "check")
    assert re.search(r'hx-target="#command"[^>]*><input[^>]* value="cargo check"', answer.text)


async def test_htmx_gets_a_panel_that_follows_the_run(learner: httpx.AsyncClient) -> None:
    answer = await post(learner, htmx=True)
    assert answer.status_code == 200
    assert answer.text.lstrip().startswith('<section id="run"')
    assert f'hx-sse:connect="/runs/{1:032x}/events"' in answer.text
    assert 'hx-sse:close="run-done"' in answer.text
    assert f'action="/runs/{1:032x}/cancel"' in answer.text
    assert '<hx-partial hx-target="#problem" hx-swap="innerHTML"></hx-partial>' in answer.text
    assert 'hx-target="#command"' not in answer.text, "the line is the learner's own"


async def test_the_stream(learner: httpx.AsyncClient) -> None:
    await post(learner, htmx=True)
    answer = await learner.get(f"/runs/{1:032x}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    sent = messages(answer.text)
    assert [message.get("id") for message in sent] == ["5", None], "what is there at once goes in one message"
    assert sent[-1]["event"] == "run-done"
    assert all("event" not in message for message in sent[:-1]), "htmx does not swap named events"
    assert sent[0]["data"].count('<hx-partial hx-target="#run-terminal" hx-swap="beforeend">') == 1
    assert "Something is gone" in sent[0]["data"]
    assert '<hx-partial hx-target="#run-progress" hx-swap="innerHTML">' in sent[0]["data"]
    assert re.search(r"Step <code>one</code><span[^>]*>, reached", sent[0]["data"])


async def test_the_stream_resumes_after_the_last_event_id(learner: httpx.AsyncClient) -> None:
    await post(learner, htmx=True)
    answer = await learner.get(f"/runs/{1:032x}/events", headers={"last-event-id": "2"})
    sent = messages(answer.text)
    assert [message.get("id") for message in sent] == ["5", None]
    assert "red &lt;/pre" not in sent[0]["data"]
    assert '<span class="sgr-31">gone</span>' in sent[0]["data"], "the colour that event 2 left open"
    answer = await learner.get(f"/runs/{1:032x}/events", headers={"last-event-id": "5"})
    assert [message.get("event") for message in messages(answer.text)] == ["run-done"]


async def test_a_stream_that_a_stopping_server_ends_is_not_closed_for_good(
    learner: httpx.AsyncClient, engine: ScriptedEngine
) -> None:
    await post(learner, htmx=True)
    engine.log = LOG[:2]
    assert "run-done" not in (await learner.get(f"/runs/{1:032x}/events")).text


@pytest.mark.parametrize("method", ["events", "cancel"])
async def test_a_run_is_its_seats_alone(
    app: FastAPI, learner: httpx.AsyncClient, engine: ScriptedEngine, method: str
) -> None:
    await post(learner, htmx=True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as stranger:
        verb = "GET" if method == "events" else "POST"
        answer = await stranger.request(verb, f"/runs/{1:032x}/{method}")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert not engine.cancelled


async def test_cancel(learner: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    await post(learner, htmx=True)
    path = f"/runs/{1:032x}/cancel"
    assert (await learner.post(path, headers=HTMX)).status_code == 204
    answer = await learner.post(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/lessons/one")
    assert engine.cancelled == [f"{1:032x}"] * 2


async def test_a_refused_command_is_explained_next_to_it(learner: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    answer = await post(learner, command="sudo rm", htmx=True)
    assert answer.status_code == 422
    assert "sudo" in answer.text
    assert "<html" not in answer.text
    answer = await post(learner, main="// typed </textarea><script>\n", command='sudo "rm"')
    assert answer.status_code == 422
    assert "// typed &lt;/textarea&gt;&lt;script&gt;\n</textarea>" in answer.text
    assert 'value="sudo &#34;rm&#34;"' in answer.text
    assert re.search(r'role="alert"><p>[^<]*sudo', answer.text)
    assert not engine.jobs


@pytest.mark.parametrize("field", ["command", "offered", "toolchain", "after", "shown", "base", "choice"])
async def test_a_long_field_is_not_repeated_in_the_answer(learner: httpx.AsyncClient, field: str) -> None:
    form = {"command": "cargo build", "file:src/main.rs": "", field: "x" * 500_000}
    for path in ("runs", "changes", "undo"):
        answer = await learner.post(f"/lessons/one/{path}", data=form)
        assert len(answer.content) < 100_000, path
        assert len(answer.headers.get("location", "")) < 1200, path


async def test_a_reload_shows_what_was_run(learner: httpx.AsyncClient) -> None:
    await post(learner, main="\n\n// mine\n", command="cargo check", htmx=True)
    page = (await learner.get("/lessons/one")).text
    assert "\n\n\n// mine\n</textarea>" in page, "a text area drops one line end at its start"
    assert 'value="cargo check" required' in page
    assert "This is the error we came for." in page
    assert "hx-sse:connect" not in page


async def test_a_reload_follows_a_run_that_goes_on(learner: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    await post(learner, htmx=True)
    engine.state = "running"
    page = (await learner.get("/lessons/one")).text
    assert f'hx-sse:connect="/runs/{1:032x}/events"' in page
    assert '<noscript><meta http-equiv="refresh"' in page


async def test_the_whole_output_can_be_read_as_plain_text(learner: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    text = "\x1b[31m<b>é" + "x" * 300_000
    pieces = [Output(stream="stdout", text=piece) for piece in (text, "\x1b[3", "2mend\n")]
    log = (*LOG[:2], *pieces, *LOG[-2:])
    engine.log = tuple(event.numbered(number) for number, event in enumerate(log, 1))
    await post(learner, htmx=True)
    page = (await learner.get("/lessons/one")).text
    [address] = re.findall(r'href="(/runs/[0-9a-f]+/output)"', page)
    answer = await learner.get(address)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.endswith("<b>é" + "x" * 300_000 + "end\n")
    learner.cookies.clear()
    assert (await learner.get(address)).status_code == 404, "it is another seat's"


async def test_a_seat_that_has_much_drawn_waits_for_itself(learner: httpx.AsyncClient, app: FastAPI) -> None:
    home: Playground = app.state.playground
    await post(learner, htmx=True)
    learner.cookies.clear()
    await learner.get("/")
    await post(learner, htmx=True)
    order: list[int] = []
    all_asked = threading.Event()

    async def draw(number: int) -> None:
        def work() -> None:
            assert all_asked.wait(60)
            order.append(number)

        async with home.drawing_lock(f"{number:032x}"):
            await home.draw(work)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(draw, 1)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(draw, 2)
        await anyio.wait_all_tasks_blocked()
        all_asked.set()
    assert order.index(2) <= 2


async def test_a_run_that_has_expired_leaves_the_files(learner: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    await post(learner, main="// mine\n", htmx=True)
    engine.jobs.clear()
    page = (await learner.get("/lessons/one")).text
    assert "// mine" in page
    assert "Nothing has run yet." in page


async def test_run_again_asks_for_a_run_that_really_runs(learner: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    engine.log = (LOG[0].model_copy(update={"age": 180}), *LOG[1:])
    page = (await post(learner)).text
    assert "Same as a run 3 minutes ago." in page
    assert 'form="bench" name="again" value="1">Run again' in page
    await post(learner, again="1")
    seatless = {"lesson": "one", "command": "cargo build", "again": True}
    assert (await learner.post("/api/runs", json=seatless)).status_code == 202
    assert [job.again for job in engine.jobs] == [False, True, True]


async def test_a_look_up_names_the_run_that_built_and_a_build_names_none(
    learner: httpx.AsyncClient, engine: ScriptedEngine
) -> None:
    engine.log = (*LOG[:2], BUILT, *LOG[3:])
    await post(learner, htmx=True)
    held = f'name="after" value="{1:032x}"'
    assert held in (await learner.get("/lessons/one")).text
    await post(learner, command="readelf -h target/debug/x", after=f"{1:032x}")
    assert engine.jobs[1].after == f"{1:032x}"
    engine.log = LOG
    assert held in (await learner.get("/lessons/one")).text, "the look-up built nothing, so the build is still the one"
    await post(learner, after="f" * 32)
    assert engine.jobs[2].after is None


async def test_reset_gives_the_start_back(learner: httpx.AsyncClient) -> None:
    await post(learner, main="// mine\n")
    answer = await learner.post("/lessons/one/reset")
    assert (answer.status_code, answer.headers["location"]) == (303, "/lessons/one")
    page = (await learner.get("/lessons/one")).text
    assert "// mine" not in page
    assert "Nothing has run yet." in page


async def test_going_on_can_carry_the_files_along(learner: httpx.AsyncClient) -> None:
    await post(learner, main="// mine\n")
    answer = await learner.post("/lessons/two/carry", data={"from": "one"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/lessons/two")
    assert "// mine" in (await learner.get("/lessons/two")).text
    assert "// mine" not in (await learner.get("/lessons/three")).text
    assert (await learner.post("/lessons/two/carry", data={"from": "none"})).status_code == 404


async def test_a_learner_can_be_forgotten(learner: httpx.AsyncClient) -> None:
    await post(learner, main="// mine\n")
    answer = await learner.post("/forget")
    assert answer.status_code == 303
    assert "deleted" in (await learner.get(answer.headers["location"])).text
    assert "// mine" not in (await learner.get("/lessons/one")).text
    assert "Start:" in (await learner.get("/")).text


async def test_only_pages_allow_the_editors_style_sheet_by_nonce(learner: httpx.AsyncClient) -> None:
    pages = [await learner.get("/lessons/one") for _ in range(2)]
    nonces = [re.search(r'data-editor="([\w-]{22})"', page.text) for page in pages]
    assert nonces[0]
    assert nonces[1]
    assert nonces[0][1] != nonces[1][1]
    for page, nonce in zip(pages, nonces, strict=True):
        assert nonce
        assert f"style-src 'self' 'nonce-{nonce[1]}';" in page.headers["content-security-policy"]
    for path in ("/static/css/site.css", "/api/lessons"):
        assert "style-src 'self';" in (await learner.get(path)).headers["content-security-policy"]


async def test_a_lesson_weighs_little_and_the_next_one_next_to_nothing(learner: httpx.AsyncClient) -> None:
    def files(page: str) -> set[str]:
        return set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page))

    async def weight(path: str) -> int:
        async with learner.stream("GET", path, headers={"accept-encoding": "gzip"}) as answer:
            assert answer.status_code == 200, path
            return len(b"".join([piece async for piece in answer.aiter_raw()]))

    page = (await learner.get("/lessons/one")).text
    todo, seen = files(page), set[str]()
    while todo:
        path = todo.pop()
        seen.add(path)
        if path.startswith("/static/js/"):
            imported = re.findall(
                r'^(?:import|export)[^"\n]* from "\.{1,2}/([^"]+)"', (await learner.get(path)).text, re.MULTILINE
            )
            beside = {f"/static/{each}" if each.startswith("vendor/") else f"/static/js/{each}" for each in imported}
            todo |= beside - seen
    assert any("codemirror-" in path for path in seen)
    assert not any("-vim-" in path for path in seen), "which is loaded for those who want it"
    total = await weight("/lessons/one") + sum([await weight(path) for path in sorted(seen)])
    assert total < 250_000
    assert await weight("/lessons/two") < 25_000
    etags = {path: (await learner.get(path)).headers["etag"] for path in seen}
    for path, etag in etags.items():
        again = await learner.get(path, headers={"if-none-match": etag})
        assert again.status_code == 304, path
        assert "content-security-policy" not in again.headers


async def test_an_explanation_is_a_page_and_a_fragment(learner: httpx.AsyncClient, machine: ScriptedToolchains) -> None:
    machine.explanations["E0001"] = "Its `text` <b>\n"
    page = (await learner.get("/explain/E0001")).text
    assert "<title>E0001" in page
    assert "Its <code>text</code> &lt;b&gt;" in page
    assert "<html" not in (await learner.get("/explain/E0001?toolchain=1.99", headers=HTMX)).text
    for code in ("E9999", "e0001", "--version", "E00011"):
        answer = await learner.get(f"/explain/{code}")
        assert answer.status_code == 404, code


async def test_an_unknown_error_code_is_looked_up_once(learner: httpx.AsyncClient, machine: ScriptedToolchains) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(learner.get, "/explain/E0999")
    assert (await learner.get("/explain/E0999")).status_code == 404
    assert machine.calls == ["E0999"]


async def test_an_unknown_lesson_gets_a_page(learner: httpx.AsyncClient) -> None:
    for answer in (await learner.get("/lessons/none"), await post(learner, "/lessons/none/runs")):
        assert answer.status_code == 404
        assert "<html" in answer.text
        assert 'href="/"' in answer.text


async def test_no_page_has_anything_that_the_policy_forbids(learner: httpx.AsyncClient) -> None:
    finished = (await post(learner)).text
    for page in (finished, (await learner.get("/")).text, (await learner.get("/lessons/none")).text):
        assert not re.search(r"<style|\sstyle=|<script(?![^>]* src=)|\son[a-z]+=|hx-on|js:", page)
        assert not re.search(r'(?:src|action)="(?!/)|<link[^>]* href="(?!/)', page), "a request to another host"
        ids = re.findall(r'\sid="([^"]+)"', page)
        assert len(ids) == len(set(ids))


def test_the_vendored_files_are_the_ones_that_were_checked(shipped: Settings) -> None:
    vendor = shipped.static_dir / "vendor"
    lines = (vendor / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split() for line in lines)}
    present = {path.name for path in vendor.iterdir()} - {"SHA256SUMS", "README.md"}
    imported = (shipped.static_dir / "js/codemirror.js").read_text(encoding="utf-8")
    assert set(re.findall(r"vendor/([^\"]+)", imported)) == {
        name for name in sums if re.match(r"codemirror.*\.js", name)
    }
    readme = (vendor / "README.md").read_text(encoding="utf-8")
    assert present == set(sums)
    for name, digest in sums.items():
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest, name
        assert name in readme
    parts = (vendor / "htmx-4.0.1-sse.min.js").read_bytes().splitlines()
    assert [hashlib.sha256(part).hexdigest() for part in parts] == re.findall(
        r"^\| `dist/.* `(\w{64})` \|$", readme, re.MULTILINE
    )


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(shipped: Settings, mode: str) -> None:
    sheet = (shipped.static_dir / "css/site.css").read_text(encoding="utf-8")
    both = re.findall(r"--([a-z0-9-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", sheet)
    assert len(both) > 20
    colours = {name: light if mode == "light" else dark for name, light, dark in both}
    text = {(ink, ground) for ink in ("ink", "soft", "accent") for ground in ("paper", "raised", "sunk")}
    text |= {(f"ansi-{number}", "terminal") for number in range(16)} | {("terminal-ink", "terminal")}
    for name in ("good", "open", "bad"):
        text |= {(name, f"{name}-ground"), (name, "paper"), ("ink", f"{name}-ground"), ("soft", f"{name}-ground")}
    text |= {("on-accent", "accent"), ("accent", "good-ground")}
    weak = {f"{ink} on {ground}" for ink, ground in text if contrast(colours[ink], colours[ground]) < 4.5}
    weak |= {f"edge on {ground}" for ground in ("paper", "raised") if contrast(colours["edge"], colours[ground]) < 3}
    weak |= {f"focus on {ground}" for ground in ("paper", "raised") if contrast(colours["focus"], colours[ground]) < 3}
    assert not weak


async def test_a_reload_shows_the_compiler_that_was_chosen(learner: httpx.AsyncClient) -> None:
    await post(learner, toolchain="1.98")
    assert re.search(r'<option value="1.98"[^>]* selected', (await learner.get("/lessons/one")).text)


async def test_an_address_below_a_lesson_that_no_form_has_is_not_found(learner: httpx.AsyncClient) -> None:
    assert (await learner.get("/lessons/one/nothing")).status_code == 404


async def test_the_address_of_a_run_without_scripts_leads_back(learner: httpx.AsyncClient) -> None:
    answer = await learner.get("/lessons/one/runs")
    assert (answer.status_code, answer.headers["location"]) == (303, "/lessons/one")


async def test_a_run_takes_the_turn_of_its_seat_or_without_a_cookie_of_its_address(
    app: FastAPI, learner: httpx.AsyncClient, engine: ScriptedEngine
) -> None:
    run = {"lesson": "one", "command": "cargo build"}
    await post(learner)
    await learner.post("/api/runs", json=run)
    seat = engine.jobs[0].owner
    assert seat
    assert [job.queue_owner for job in engine.jobs] == [seat, seat]
    assert engine.visitors == [seat] * 3, "the first page has given the seat"
    for client, owner in (("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:0db8:0000:0000"), ("127.0.0.1", None)):
        transport = httpx.ASGITransport(app, client=(client, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as script:
            await script.post("/api/runs", json=run)
            assert (engine.jobs[-1].queue_owner, engine.visitors[-1]) == (owner, owner)
            await post(script)
            assert engine.jobs[-1].queue_owner == owner, "no new turn by the seat that the answer brings"
            assert engine.visitors[-1] == engine.jobs[-1].owner != owner
    seen = len(engine.visitors)
    await learner.get("/healthz")
    await learner.get("/static/css/site.css")
    await learner.get("/", headers={"host": "evil.example"})
    assert len(engine.visitors) == seen


async def test_a_full_queue_is_reported_with_its_limit(
    app: FastAPI, learner: httpx.AsyncClient, engine: ScriptedEngine
) -> None:
    run = {"lesson": "one", "command": "cargo build"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app, client=("192.0.2.1", 1)), base_url="http://localhost"
    ) as script:
        for client, error, status, code, sentence in (
            (learner, OwnerQueueFullError(), 429, "owner-queue-full", "Your seat has 8 runs waiting"),
            (
                script,
                OwnerQueueFullError(),
                429,
                "owner-queue-full",
                "Your address, without a cookie, has 8 runs waiting",
            ),
            (learner, QueueFullError(), 503, "queue-full", "The queue is full (200 runs)"),
            (script, QueueFullError(), 503, "queue-full", "The queue is full (200 runs)"),
        ):
            engine.full = error
            script.cookies.clear()  # the page that it got gave it a seat
            refused = await client.post("/api/runs", json=run)
            assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
            assert refused.json()["error"]["message"].startswith(sentence)
            assert ("Runs without a cookie" in refused.json()["error"]["message"]) == (client is script)
            assert refused.headers["retry-after"] == "5"
            assert sentence in (await post(client, htmx=True)).text


async def test_a_seat_that_requests_many_pages_delays_only_itself(app: FastAPI, learner: httpx.AsyncClient) -> None:
    order: list[str] = []

    async def ask(client: httpx.AsyncClient, who: str) -> None:
        assert (await client.get("/lessons/one")).status_code == 200
        order.append(who)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as other:
        await other.get("/")
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(ask, learner, "many")
            tasks.start_soon(ask, other, "one")
    assert order.index("one") < 10


async def test_a_run_that_a_restart_has_ended_is_told_so(app: FastAPI, learner: httpx.AsyncClient) -> None:
    playground: Playground = app.state.playground
    seat = seat_of(learner.cookies)
    for run, ago, words in (("a" * 32, 60, "The playground was restarted. Run again."), ("b" * 32, 9000, "expired")):
        await playground.progress.note_run(seat, "one", run, "cargo build")
        at = (datetime.now(UTC) - timedelta(seconds=ago)).isoformat()
        await playground.progress._store.rows("update last_runs set at = ? where run = ?", at, run)
        for path in (f"/api/runs/{run}", f"/api/runs/{run}/events", f"/runs/{run}/events"):
            answer = await learner.get(path, headers=HTMX if path.startswith("/runs") else {})
            assert answer.status_code == 404
            assert words in answer.text
    await playground.progress.note_run(seat, "one", "c" * 32, "cargo build")
    assert "expired" in (await learner.get(f"/api/runs/{'c' * 32}")).text, "it was posted to this server"


async def test_a_server_is_ready_when_the_first_run_is_as_fast_as_the_next(
    app: FastAPI, learner: httpx.AsyncClient
) -> None:
    app.state.playground.warming = True
    answer = await learner.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["engine"] == "the first run is being prepared; ready in a few seconds"
    app.state.playground.warming = False
    assert (await learner.get("/readyz")).json()["engine"] == "ok"


async def test_pages_say_when_progress_is_not_kept(app: FastAPI, learner: httpx.AsyncClient) -> None:
    playground: Playground = app.state.playground
    store = playground.progress._store
    assert "not being kept" not in (await learner.get("/")).text
    await store.rows("create trigger refuse before insert on files begin select raise(abort, 'disk full'); end")
    answer = await learner.post(
        "/api/runs", json={"lesson": "one", "command": "cargo build", "files": {"src/main.rs": ""}}
    )
    assert answer.status_code == 503
    for path in ("/", "/lessons/one", "/nowhere"):
        assert "Your progress is not being kept" in (await learner.get(path)).text
    await store.rows("drop trigger refuse")
    assert (await learner.get("/readyz")).json()["storage"] == "ok"
    assert "not being kept" not in (await learner.get("/")).text


async def test_a_run_costs_the_same_however_many_seats_are_stored(
    app: FastAPI, learner: httpx.AsyncClient, engine: ScriptedEngine
) -> None:
    """No statement reads a whole table: each finds the rows of one seat by an index."""
    playground: Playground = app.state.playground
    db = playground.progress._store._db
    verdict = LOG[-1]
    assert isinstance(verdict, Verdict)
    traced: list[str] = []
    db.set_trace_callback(traced.append)
    await learner.get("/lessons/one")
    await post(learner)
    await playground._verdict(engine.jobs[-1], LOG, verdict)
    db.set_trace_callback(None)
    statements = [each for each in traced if each.split()[0].lower() in ("select", "insert", "update", "delete")]
    plans = [(each, str(row[3])) for each in statements for row in db.execute(f"explain query plan {each}")]
    assert {"select", "insert"} <= {each.split()[0] for each in statements}
    assert not [(each, plan) for each, plan in plans if plan.startswith("SCAN ") and plan.split()[1] in TABLES]


async def test_health_checks_write_to_the_disk_once_a_second(
    app: FastAPI, learner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    playground: Playground = app.state.playground
    checks = 0
    check = playground.progress.check

    async def counted() -> None:
        nonlocal checks
        checks += 1
        await check()

    monkeypatch.setattr(playground.progress, "check", counted)
    now = 100.0
    playground.readiness = ReadinessCheck(
        playground.engine, playground.inventory, playground.progress, clock=lambda: now
    )
    for written in (1, 2):
        for _ in range(20):
            assert (await learner.get("/readyz")).json()["storage"] == "ok"
        assert checks == written
        now += 1.5


async def test_no_page_waits_for_the_toolchains_to_be_searched(
    inventory: LocalInventory, machine: ScriptedToolchains, clock: list[float]
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(inventory.keep_looking)
        clock.append(106.0)
        for _ in range(20):
            with anyio.fail_after(10):
                assert len(await inventory.toolchains()) == 2
            await anyio.lowlevel.checkpoint()
        assert machine.calls == ["discover"]
        tasks.cancel_scope.cancel()


async def test_the_machine_is_examined_once_for_many_views_of_a_failed_target(
    inventory: LocalInventory, machine: ScriptedToolchains, clock: list[float]
) -> None:
    for now in (100.0, 106.0):
        clock.append(now)
        machine.calls.clear()
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(inventory.examine, "one", (BARE_METAL,))
        assert machine.calls == ["examine"]
