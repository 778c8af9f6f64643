"""The API over real HTTP with a real server: streaming order, replay, cancel, ownership, refusals, restarts."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.course.lesson import Lesson
from tests.support.clients import seat_of, seated
from tests.support.environment import within
from tests.support.forked import run_forked
from tests.support.polling import eventually
from tests.support.processes import pids_with
from tests.support.server import Server

LOOP = 'fn main() { println!("turning"); loop { std::thread::sleep(std::time::Duration::from_secs(1)); } }'


@pytest.fixture
def client(server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, timeout=30) as client:
        yield client


def post(client: httpx.Client, lesson: str, command: str, **more: Any) -> httpx.Response:
    return client.post("/api/runs", json={"lesson": lesson, "command": command} | more)


def stream(client: httpx.Client, path: str, after: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield the events as they arrive, checking each against the id of its frame."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    with client.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        frame: dict[str, str] = {}
        for line in response.iter_lines():
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                frame[name] = value
            elif frame:
                event = json.loads(frame["data"])
                assert frame.keys() == {"data", "id"}
                assert str(event["id"]) == frame["id"]
                yield event
                frame = {}


def run(client: httpx.Client, lesson: str, command: str, **more: Any) -> list[dict[str, Any]]:
    answer = post(client, lesson, command, **more)
    assert answer.status_code == 202, answer.text
    return list(stream(client, answer.json()["events"]))


def settled(client: httpx.Client) -> httpx.Response:
    """Return the answer of ``/readyz`` once set-up has ended."""
    assert eventually(lambda: "not ended" not in client.get("/readyz").json()["toolchain"], 30), "set-up did not end"
    return client.get("/readyz")


def test_lessons_are_a_bare_array(client: httpx.Client, lessons: dict[str, Lesson]) -> None:
    listed = client.get("/api/lessons").json()
    assert [entry["slug"] for entry in listed] == list(lessons)
    assert all(entry.keys() == {"slug", "number", "title", "goal"} for entry in listed)


def test_a_lesson_holds_what_a_client_needs(client: httpx.Client) -> None:
    lesson = client.get("/api/lessons/bare-metal").json()
    assert lesson["files"]["src/main.rs"]["editable"] is True
    assert "_start" in lesson["files"]["src/main.rs"]["text"]
    assert lesson["commands"][0] == "cargo build --target thumbv7em-none-eabihf"
    assert lesson["targets"] == {"thumbv7em-none-eabihf": "ready"}
    assert lesson["toolchains"]
    assert client.get("/api/lessons/nothing").status_code == 404


def test_a_run_from_post_to_verdict(client: httpx.Client) -> None:
    answer = post(client, "hello-std", "cargo build")
    body = answer.json()
    assert answer.status_code == 202
    assert body.keys() == {"id", "events"}
    assert len(bytes.fromhex(body["id"])) == 16
    assert body["events"].startswith("/")
    events = list(stream(client, body["events"]))
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events][-3:] == ["artifact", "finished", "verdict"]
    asked = client.get(f"/api/runs/{body['id']}")
    stages = dict(each.split(";dur=") for each in asked.headers["server-timing"].split(", "))
    assert list(stages) == ["queue", "lay", "spawn", "process", "end", "collect", "facts", "verdict", "store"]
    assert max(stages, key=lambda stage: float(stages[stage])) in ("process", "facts")
    state = asked.json()
    assert state["state"] == "done"
    assert state["finished"] == events[-2]
    assert state["verdict"] == events[-1]
    assert events[-1]["reached"] is True


@pytest.mark.usefixtures("bare_metal")
def test_the_bare_metal_lesson_is_built_for_real(client: httpx.Client) -> None:
    events = run(client, "bare-metal", "cargo build --target thumbv7em-none-eabihf")
    [artifact] = [event for event in events if event["type"] == "artifact"]
    assert (artifact["format"], artifact["machine"], artifact["entry_symbol"]) == ("ELF", "ARM", "_start")
    assert (artifact["needed"], artifact["interpreter"]) == ([], None)
    assert events[-1]["reached"] is True


def test_a_lost_connection_is_replayed_from_the_last_id(client: httpx.Client) -> None:
    path = post(client, "no-std", "cargo build").json()["events"]
    seen = []
    for event in stream(client, path):
        seen.append(event)
        if len(seen) == 2:
            break
    seen += list(stream(client, path, after=2))
    assert [event["id"] for event in seen] == list(range(1, len(seen) + 1))
    assert seen == list(stream(client, path))
    assert list(stream(client, path, after=len(seen))) == []


def test_output_arrives_while_the_program_runs(client: httpx.Client) -> None:
    accepted = post(client, "hello-std", "cargo run", files={"src/main.rs": LOOP}).json()
    for event in stream(client, accepted["events"]):
        if event["type"] == "output" and "turning" in event["text"]:
            break
    assert client.get(f"/api/runs/{accepted['id']}").json()["state"] == "running"
    assert client.delete(f"/api/runs/{accepted['id']}").status_code == 204
    last = list(stream(client, accepted["events"]))[-2:]
    assert last[0]["status"] == "cancelled"
    assert last[1]["type"] == "verdict"


def test_a_look_at_what_was_built(client: httpx.Client) -> None:
    refused = post(client, "hello-std", "readelf -h target/debug/blog_os")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "nothing-built")
    built = post(client, "hello-std", "cargo build").json()
    list(stream(client, built["events"]))
    events = run(client, "hello-std", "readelf -h target/debug/blog_os", after=built["id"])
    assert "ELF64" in "".join(event.get("text", "") for event in events)
    failed = post(client, "hello-std", "cargo build", files={"src/main.rs": "fn main() {"}).json()
    list(stream(client, failed["events"]))
    assert post(client, "hello-std", "nm target/debug/blog_os", after=failed["id"]).status_code == 409


def test_a_seats_run_is_that_seats_alone(client: httpx.Client, server: str) -> None:
    with seated(server) as owner:
        accepted = post(owner, "hello-std", "cargo build").json()
        path = f"/api/runs/{accepted['id']}"
        assert len(list(stream(owner, accepted["events"]))) > 3
        with seated(server) as other:
            for stranger in (client, other):
                assert stranger.get(path).status_code == 404
                assert stranger.get(accepted["events"]).status_code == 404
                assert stranger.delete(path).status_code == 404
                assert post(stranger, "hello-std", "nm target/debug/blog_os", after=accepted["id"]).status_code == 404
        opened = post(client, "hello-std", "rustc --version").json()
        assert owner.get(f"/api/runs/{opened['id']}").status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"not json", 400, "not-json"),
        (b"", 422, "invalid"),
        (b"[]", 422, "invalid"),
        (b"{}", 422, "invalid"),
        (b'{"lesson": 5, "command": "cargo build"}', 422, "invalid"),
        (b'{"lesson": "hello-std", "command": "cargo build", "file": {}}', 422, "invalid"),
        (b'{"lesson": "nope", "command": "cargo build"}', 404, "no-such-lesson"),
        (b'{"lesson": "../etc", "command": "cargo build"}', 404, "no-such-lesson"),
        (b'{"lesson": "hello-std", "command": "rm -rf /"}', 422, "command-not-offered"),
        (b'{"lesson": "hello-std", "command": "cargo build --config x"}', 422, "command-not-offered"),
        (b'{"lesson": "hello-std", "command": "cargo build", "files": {"../x": ""}}', 422, "not-editable"),
        (b'{"lesson": "hello-std", "command": "cargo build", "files": {"/etc/x": ""}}', 422, "not-editable"),
        (b'{"lesson": "hello-std", "command": "cargo build", "files": {"src/main.rs": "\\u0000"}}', 422, "nul-byte"),
        (b'{"lesson": "hello-std", "command": "cargo build", "files": {"src/main.rs": "\\ud800"}}', 422, "not-unicode"),
        (b'{"lesson": "\\ud800", "command": "cargo build"}', 422, "invalid"),
        (b'{"lesson": "hello-std", "command": "cargo build # \\ud800"}', 422, "invalid"),
        (b'{"lesson": "hello-std", "command": "cargo build", "toolchain": "\\ud800"}', 422, "invalid"),
        (b'{"lesson": "hello-std", "command": "cargo build", "after": "\\ud800"}', 422, "invalid"),
        (b'{"lesson": "hello-std", "command": "cargo build", "toolchain": "0.1"}', 422, "no-such-toolchain"),
        (b'{"lesson": "hello-std", "command": "cargo build", "after": "00"}', 404, "no-such-run"),
        (
            b'{"lesson": "hello-std", "command": "cargo build", "files": {"src/main.rs": "%s"}}' % (b"x" * 70_000),
            422,
            "file-too-large",
        ),
        (b'{"lesson": "%s"}' % (b"x" * 10_000_000), 413, "body-too-large"),
    ],
)
def test_bad_input_gets_one_sentence(client: httpx.Client, body: bytes, status: int, code: str) -> None:
    answer = client.post("/api/runs", content=body, headers={"content-type": "application/json"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert error["message"].endswith((".", ").", ";"))
    assert len(error["message"]) < 400
    assert error.keys() <= {"code", "message", "field"}


def test_a_large_body_without_a_length_is_refused_too(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 65536

    answer = client.post("/api/runs", content=chunks(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "evil.example"}, 400),
        ({"Host": "127.0.0.1.evil.example:8000"}, 400),
        ({"Host": ""}, 400),
        ({}, 202),
        ({"Sec-Fetch-Site": "same-origin"}, 202),
    ],
)
def test_foreign_requests_are_refused(client: httpx.Client, headers: dict[str, str], status: int) -> None:
    body = {"lesson": "hello-std", "command": "rustc --version"}
    assert client.post("/api/runs", json=body, headers=headers).status_code == status


def test_the_own_origin_passes(client: httpx.Client, server: str) -> None:
    body = {"lesson": "hello-std", "command": "rustc --version"}
    assert client.post("/api/runs", json=body, headers={"Origin": server}).status_code == 202


def test_answers_carry_the_guards_headers(client: httpx.Client) -> None:
    for path in ("/", "/api/lessons", "/healthz", "/nothing"):
        headers = client.get(path).headers
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    client.cookies.clear()
    cookie = client.get("/").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "set-cookie" not in client.get("/api/lessons").headers


@pytest.mark.usefixtures("bare_metal")
def test_health_and_readiness(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    isolation = settled(client).json()["isolation"]
    # Runs that other tests have posted to this server may wait.
    eventually(lambda: client.get("/readyz").json()["waiting"] == 0, 60)
    assert client.get("/readyz").json() == {
        "ready": True,
        "toolchain": "ok",
        "isolation": isolation,
        "storage": "ok",
        "engine": "ok",
        "waiting": 0,
        "oldest_wait": 0.0,
    }


def test_a_server_without_the_target_serves_but_is_not_ready(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    without = {"PLAYGROUND_CACHE_DIR": str(tmp_path / "cache"), "RUSTUP_HOME": str(tmp_path), "HOME": str(tmp_path)}
    server = start_server(**without)
    with httpx.Client(base_url=server.url, timeout=30) as client:
        state = settled(client)
        assert state.status_code == 503
        assert "thumbv7em-none-eabihf" in state.json()["toolchain"]
        assert client.get("/lessons/bare-metal").status_code == 200
    # The server has begun to build the target; the build ends with the server.
    server.stop()


def test_progress_survives_kill_9_in_the_middle_of_a_run(start_server: Callable[..., Server], tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = start_server(data_dir=data, PLAYGROUND_RUN_SECONDS="120")
    with seated(first.url) as client:
        cookies = client.cookies
        events = run(client, "hello-std", "cargo build")
        assert events[-1]["reached"], events
        accepted = post(client, "no-std", "cargo run", files={"src/main.rs": LOOP}).json()
        for event in stream(client, accepted["events"]):
            if "turning" in event.get("text", ""):
                break
        first.stop(signal.SIGKILL)
    for pid in pids_with(f"{tmp_path}/scratch/"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    second = start_server(data_dir=data)
    with httpx.Client(base_url=second.url, cookies=cookies, timeout=30) as client:
        page = client.get("/lessons/no-std").text
        assert "turning" in page
        assert client.get(f"/api/runs/{accepted['id']}").status_code == 404
    database = sqlite3.connect(data / "progress.sqlite3")
    assert database.execute("select lesson from reached where seat = ?", (seat_of(cookies),)).fetchall() == [
        ("hello-std",)
    ]
    assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    database.close()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_server_streams_and_runs_at_once(
    start_server: Callable[..., Server], how: signal.Signals, tmp_path: Path
) -> None:
    server = start_server(data_dir=tmp_path / "data", PLAYGROUND_RUN_SECONDS="120")
    with httpx.Client(base_url=server.url, timeout=30) as client:
        accepted = post(client, "hello-std", "cargo run", files={"src/main.rs": LOOP}).json()
        events = []
        began = 0.0
        for event in stream(client, accepted["events"]):
            events.append(event)
            if "turning" in event.get("text", ""):
                began = time.monotonic()
                server.process.send_signal(how)
        assert events[-1]["type"] == "verdict"
        assert server.process.wait(timeout=10) in (0, -how, 130, 143)
        assert within(5, began)
    assert eventually(lambda: not pids_with(f"{tmp_path}/scratch/"))
    assert list((tmp_path / "scratch").iterdir()) == []


_HEAP = 64 << 20
"""The bytes that glibc reserves for each heap but the first, at a multiple of them."""


def test_all_threads_share_one_heap(start_server: Callable[..., Server]) -> None:
    server = start_server()
    with httpx.Client(base_url=server.url, timeout=30) as client:
        accepted = post(client, "hello-std", "cargo run").json()
        assert [event["type"] for event in stream(client, accepted["events"])][-1] == "verdict"
    assert len(list(Path(f"/proc/{server.process.pid}/task").iterdir())) > 1
    assert list(heaps(Path(f"/proc/{server.process.pid}/maps").read_text())) == []


def heaps(maps: str) -> Iterator[str]:
    """Yield the further heaps: aligned blocks whose beginning may be written, and whose rest is only reserved."""
    parts = re.findall(r"^(\w+)-(\w+) (....) 00000000 00:00 0 *$", maps, re.MULTILINE)
    for (start, middle, rights), (following, end, reserved) in pairwise(parts):
        is_block = int(start, 16) % _HEAP == 0 and int(end, 16) - int(start, 16) >= _HEAP
        if is_block and middle == following and (rights, reserved) == ("rw-p", "---p"):
            yield start


def test_a_further_heap_is_recognized() -> None:
    """Threads of a Python that may have several heaps get some."""
    code = """if True:
        import ctypes, threading
        libc = ctypes.CDLL(None)
        libc.malloc.restype = ctypes.c_void_p
        held = threading.Barrier(5)
        def allocate():
            libc.malloc(ctypes.c_size_t(100_000))
            held.wait()
            held.wait()
        for _ in range(4):
            threading.Thread(target=allocate).start()
        held.wait()
        print(open("/proc/self/maps").read())
        held.wait()
    """
    env = os.environ | {"MALLOC_ARENA_MAX": "8"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert list(heaps(done.stdout))


def test_a_taken_port_gets_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        env = os.environ | {"PLAYGROUND_DATA_DIR": str(tmp_path)}
        done = run_forked("serve", "--port", port, env=env)
    assert done.returncode == 2
    assert f"Port {port} is taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_open_address_is_refused_while_nothing_isolates(tmp_path: Path) -> None:
    env = os.environ | {"PLAYGROUND_DATA_DIR": str(tmp_path), "PLAYGROUND_ISOLATION": "none"}
    done = run_forked("serve", "--host", "0.0.0.0", "--port", "0", env=env)
    assert done.returncode == 2
    assert "0.0.0.0 is refused" in done.stderr


def test_folders_that_cannot_be_used_get_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("PLAYGROUND_DATA_DIR", "PLAYGROUND_SCRATCH_DIR"):
        env = os.environ | {"PLAYGROUND_DATA_DIR": str(tmp_path / "data"), name: str(tmp_path / "file" / "below")}
        done = run_forked("serve", "--port", "0", env=env)
        assert done.returncode == 2
        assert "must be writable folders" in done.stderr
        assert "Traceback" not in done.stderr
