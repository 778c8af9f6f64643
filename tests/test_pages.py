"""The pages over HTTP, with an engine that plays a script: the forms, the fragments, the stream, the files."""

import hashlib
import re
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from fastapi import FastAPI

from app.binary import Card
from app.course import Shelf, load_shelf
from app.engine import (
    ArtifactDetails,
    ArtifactFile,
    JobSpec,
    NoSuchRunError,
    OwnerQueueFullError,
    QueueFullError,
    RunPhase,
    RunStatus,
)
from app.engine.inventory import LocalInventory, LocalSetup
from app.engine.targets import Targets
from app.protocol.command import parse
from app.protocol.events import Artifact, Check, Diagnostic, Event, Finished, Output, Started, Verdict
from app.sandbox import Box, Isolation, Limits
from app.settings import Settings
from app.stepper import NotSteppedError, Trace
from app.toolchain import Demand, DoctorReport, Toolchain, examine
from app.web import create_app
from app.web.readiness import ReadinessCheck
from app.web.state import Backend, Playground
from tests.conftest import course_toml, seat_of

pytestmark = pytest.mark.anyio

HTMX = {"hx-request": "true"}
START = 'fn main() {\n    println!("Hello");\n}\n'
LESSON = """
title = "Step `{slug}`"
goal = "See `{slug}`."
minutes = 3
section = "A section"
edit = ["src/main.rs"]
commands = ["cargo build", "cargo check"]
hints = ["First", "Second"]
[[check]]
id = "ok"
title = "It builds"
status = "ok"
[[expect]]
files = "solution"
command = "cargo build"
reached = true
"""
ERRORS = '[[class]]\nid = "gone"\ntitle = "Something is gone"\nmeans = "It was there."\nmatch = ["gone"]\n'
LOG: tuple[Event, ...] = (
    Started(id=1, toolchain="1.99", argv=("cargo", "build"), isolation="none"),
    Output(id=2, stream="stderr", text="\x1b[31mred </pre><script>alert(1)</script>\n"),
    Diagnostic.model_validate(
        {"id": 3, "level": "error", "code": None, "message": "it is gone", "rendered": "gone\x1b[0m\n", "class": "gone"}
    ),
    Finished(id=4, status="failed", exit_code=101, seconds=0.5),
    Verdict(id=5, reached=True, checks=(Check(id="ok", title="It builds", ok=True),)),
)
BUILT = Artifact(
    id=3,
    path="target/debug/x",
    bytes=9,
    sha256="0",
    format="ELF",
    machine="ARM",
    entry=None,
    entry_symbol=None,
    needed=(),
    interpreter=None,
)


class ScriptedEngine:
    """Plays the same log for every job; ``state`` says how far each run is."""

    def __init__(self) -> None:
        self.jobs: list[JobSpec] = []
        self.log = LOG
        self.state: RunPhase = "done"
        self.cancelled: list[str] = []
        self.visitors: list[str | None] = []
        self.full: QueueFullError | None = None
        self.preparing = False

    async def health(self) -> str:
        """Fine."""
        return "ok"

    async def warm(self) -> None:
        """Nothing has to be learned."""

    async def stop(self) -> None:
        """Nothing goes on."""

    async def note_presence(self, owner: str | None) -> None:
        self.visitors.append(owner)

    async def submit(self, job: JobSpec) -> str:
        if self.full:
            raise self.full
        self.jobs.append(job)
        return f"{len(self.jobs):032x}"

    async def status(self, run_id: str) -> RunStatus:
        number = int(run_id, 16)
        if not 0 < number <= len(self.jobs):
            raise NoSuchRunError(run_id)
        return RunStatus(id=run_id, state=self.state, job=self.jobs[number - 1], preparing=self.preparing)

    async def events(self, run_id: str, after_id: int = 0) -> AsyncIterator[Event]:
        await self.status(run_id)
        for event in self.log:
            if event.id > after_id:
                yield event

    async def cancel(self, run_id: str) -> None:
        self.cancelled.append(run_id)

    async def forget(self, owner: str) -> None:
        self.forgotten = owner

    async def artifact(self, run_id: str) -> ArtifactFile:
        raise NotImplementedError

    async def artifact_bytes(self, run_id: str) -> AsyncGenerator[bytes]:
        if run_id:
            raise NotImplementedError
        yield b""

    async def card(self, run_id: str) -> Card | None:
        raise NotImplementedError

    async def steps(self, run_id: str) -> Trace:
        raise NotSteppedError(run_id)

    async def artifact_details(self, run_id: str, since: str | None = None) -> ArtifactDetails:
        raise NotImplementedError


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


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


def first(playground: Playground, **changes: object) -> None:
    """Change the first lesson of the course."""
    course = playground.shelf.default
    [part] = course.parts
    lesson, *others = part.lessons
    parts = (replace(part, lessons=(replace(lesson, **changes), *others)),)  # type: ignore[arg-type]
    playground.shelf = Shelf((replace(course, parts=parts),))


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
    found.begin(LocalSetup(isolation, (toolchain, replace(toolchain, name="1.98", version="1.98.0"))))
    return found


@pytest.fixture
async def app(
    settings: Settings, course: Path, engine: ScriptedEngine, inventory: LocalInventory
) -> AsyncIterator[FastAPI]:
    made = create_app(settings.model_copy(update={"lessons_dir": course}), backend=Backend(engine, inventory))
    yield made
    made.state.playground.progress.close()


@pytest.fixture
async def learner(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A browser: it keeps its cookie and follows nothing by itself."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        await client.get("/")
        yield client


async def post(
    client: httpx.AsyncClient,
    path: str = "/lessons/one/runs",
    main: str = START,
    *,
    htmx: bool = False,
    **fields: str,
) -> httpx.Response:
    """Send the lesson's form as a browser does."""
    form = {"file:src/main.rs": main, "command": "cargo build", **fields}
    return await client.post(path, data=form, headers=HTMX if htmx else {})


def messages(body: str) -> list[Mapping[str, str]]:
    """The messages of an event stream, each with its fields."""
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
    assert "Begin: Step <code>one</code>" in page
    assert "0 of 3 steps reached" in page
    assert "An Author" in page
    assert '<a href="https://example.org/licence" rel="noopener">free</a>' in page
    assert 'href="https://example.org/a-post/"' in page
    assert 'action="/forget"' in page


async def test_the_map_knows_where_the_learner_was(learner: httpx.AsyncClient) -> None:
    await post(learner, "/lessons/two/runs")
    assert "Continue where you were: Step <code>two</code>" in (await learner.get("/")).text


async def test_reached_steps_are_marked_and_the_next_open_one_is_offered(
    learner: httpx.AsyncClient, app: FastAPI
) -> None:
    await post(learner, "/lessons/two/runs")
    await app.state.playground.progress.mark(seat_of(learner.cookies), "two", "1.99")
    page = (await learner.get("/")).text
    assert page.count('<li class="step done">') == 1
    assert "Go on: Step <code>three</code>" in page
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
    assert "A hint" in page
    assert "First" not in page, "a hint is opened when it is asked for"
    assert "// two" not in page, "the solution, too"
    assert '<option value="1.99" selected>' in page
    assert 'href="/lessons/one" rel="prev"' in page
    assert 'href="/lessons/three" rel="next"' in page
    assert "Nothing has run yet." in page


@pytest.fixture
def wanting(app: FastAPI, inventory: LocalInventory) -> LocalInventory:
    """A machine whose first step builds for a target that nobody has; what is asked for never comes by itself."""
    playground: Playground = app.state.playground
    first(playground, target="thumbv7em-none-eabihf")
    inventory.targets = Targets(["thumbv7em-none-eabihf"], Demand(playground.settings.cache_dir, nothing_comes))
    return inventory


async def nothing_comes(_cache: Path, say: Callable[[str], None], targets: tuple[str, ...]) -> tuple[str, ...]:
    say("  rustup could not: no network")
    return targets


async def test_a_step_whose_target_is_missing_has_it_set_up_and_says_so(
    learner: httpx.AsyncClient, wanting: LocalInventory
) -> None:
    page = (await learner.get("/lessons/one")).text
    assert "is being set up for <code>thumbv7em-none-eabihf</code>" in page
    assert 'hx-get="/lessons/one/targets" hx-trigger="load delay:2s"' in page
    assert "1.99, target missing" in page
    assert "being set up" not in (await learner.get("/lessons/two")).text
    assert 'hx-get="/lessons/one/targets"' in (await learner.get("/lessons/one/targets")).text
    (toolchain, *others) = wanting._toolchains
    wanting._toolchains = (replace(toolchain, targets={"thumbv7em-none-eabihf": "built", **toolchain.targets}), *others)
    ready = (await learner.get("/lessons/one/targets")).text
    assert "Ready:" in ready
    assert "hx-get" not in ready
    assert '<hx-partial hx-target="#toolchain"' in ready
    assert "1.99, target ready" in ready


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
    learner: httpx.AsyncClient, wanting: LocalInventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(*_: object) -> DoctorReport:
        problems = ("There is no `core` for it.",)
        return DoctorReport(ok=False, toolchains=(), linkers=(), lookups=(), problems=problems, command="mend --it")

    async def known() -> None:
        return None

    monkeypatch.setattr("app.engine.inventory.examine", look)
    await learner.get("/lessons/one")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wanting.targets.work, known)
        await wanting.targets._demand.settled(("thumbv7em-none-eabihf",), print)
        tasks.cancel_scope.cancel()
    page = (await learner.get("/lessons/one")).text
    assert "There is no <code>core</code> for it." in page
    assert "rustup could not: no network" in page
    assert "<code>mend --it</code>" in page
    assert "mend --it" not in (await learner.get("/lessons/two")).text
    command = parse("cargo build --target thumbv7em-none-eabihf")
    assert wanting.targets.pending(command, {}, wanting._toolchains) == (), "what cannot come is not waited for"


async def test_a_step_whose_program_is_missing_says_what_mends_it(app: FastAPI, learner: httpx.AsyncClient) -> None:
    playground: Playground = app.state.playground
    first(playground, needs=("qemu-system-nothing", "readelf"))
    page = (await learner.get("/lessons/one")).text
    assert "This step needs <code>qemu-system-nothing</code>, which is not on this machine" in page
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
    assert "Ended as it should, with an error" in answer.text
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


async def test_the_stream_goes_on_after_the_last_event_that_was_seen(learner: httpx.AsyncClient) -> None:
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


async def test_a_refused_command_is_said_beside_it(learner: httpx.AsyncClient, engine: ScriptedEngine) -> None:
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


async def test_all_that_was_printed_is_a_text_of_its_own(learner: httpx.AsyncClient, engine: ScriptedEngine) -> None:
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

    async def draw(number: int) -> None:
        def work() -> None:
            time.sleep(0.05)
            order.append(number)

        async with home.drawing_lock(f"{number:032x}"):
            await home.draw(work)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(draw, 1)
        await anyio.sleep(0.01)
        tasks.start_soon(draw, 2)
    assert order.index(2) <= 2


async def test_a_run_that_has_expired_leaves_the_files(learner: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    await post(learner, main="// mine\n", htmx=True)
    engine.jobs.clear()
    page = (await learner.get("/lessons/one")).text
    assert "// mine" in page
    assert "Nothing has run yet." in page


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
    assert "Begin:" in (await learner.get("/")).text


async def test_only_a_page_allows_the_sheet_of_its_own_editor(learner: httpx.AsyncClient) -> None:
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


async def test_an_explanation_is_a_page_and_a_fragment(
    learner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def explained(_toolchain: Toolchain, code: str) -> str | None:
        return "Its `text` <b>\n" if code == "E0001" else None

    monkeypatch.setattr("app.engine.inventory.explanation", explained)
    page = (await learner.get("/explain/E0001")).text
    assert "<title>E0001" in page
    assert "Its <code>text</code> &lt;b&gt;" in page
    assert "<html" not in (await learner.get("/explain/E0001?toolchain=1.99", headers=HTMX)).text
    for code in ("E9999", "e0001", "--version", "E00011"):
        answer = await learner.get(f"/explain/{code}")
        assert answer.status_code == 404, code


async def test_a_code_that_no_compiler_has_is_asked_for_once(
    learner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def none(_toolchain: Toolchain, code: str) -> None:
        asked.append(code)
        await anyio.sleep(0.05)

    monkeypatch.setattr("app.engine.inventory.explanation", none)
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(learner.get, "/explain/E0999")
    assert (await learner.get("/explain/E0999")).status_code == 404
    assert asked == ["E0999"]


async def test_an_unknown_lesson_is_a_page(learner: httpx.AsyncClient) -> None:
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
    assert present == set(sums)
    for name, digest in sums.items():
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest, name
        assert name in (vendor / "README.md").read_text(encoding="utf-8")


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
    light, dark = (dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", part)) for part in sheet.split("@media", 2)[:2])
    assert set(dark) == set(light)
    colours = light if mode == "light" else dark
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


async def test_a_full_queue_is_said_with_its_bound(
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
        ):
            engine.full = error
            refused = await client.post("/api/runs", json=run)
            assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
            assert refused.json()["error"]["message"].startswith(sentence)
            assert refused.headers["retry-after"] == "5"
            assert sentence in (await post(client, htmx=True)).text


async def test_whoever_asks_for_many_pages_waits_for_themselves(app: FastAPI, learner: httpx.AsyncClient) -> None:
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


async def test_no_page_waits_for_a_look_at_the_toolchains(
    inventory: LocalInventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, seen = 0, anyio.Event()

    async def slow() -> tuple[Toolchain, ...]:
        nonlocal looks
        looks += 1
        await seen.wait()
        return ()

    monkeypatch.setattr(inventory, "refresh", slow)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(inventory.keep_looking)
        inventory._looked = time.monotonic() - 6
        for _ in range(20):
            with anyio.fail_after(2):
                assert len(await inventory.toolchains()) == 2
            await anyio.lowlevel.checkpoint()
        assert looks == 1
        seen.set()
        tasks.cancel_scope.cancel()


async def test_the_machine_is_examined_once_for_all_who_look_at_a_failed_target(
    inventory: LocalInventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    looked = examine

    async def counted(*args: Any) -> DoctorReport:
        nonlocal looks
        looks += 1
        return await looked(*args)

    monkeypatch.setattr("app.engine.inventory.examine", counted)
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(inventory.examine, "one", ("thumbv7em-none-eabihf",))
    assert looks == 1
