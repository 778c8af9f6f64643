"""Request bodies that cost far more than their size, and many bodies at once."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx

from bench.pace import pace
from tests.attacks.case import attack
from tests.attacks.watch import resident
from tests.attacks.world import World
from tests.support.environment import within


@contextlib.contextmanager
def _answers_all_the_while(world: World) -> Iterator[None]:
    """Poll the server's health and check that every answer comes soon."""
    answers: list[bool] = []
    ended = threading.Event()
    slowness = pace()

    def ask() -> None:
        with world.client() as client:
            while not (answers and ended.wait(0.02)):
                asked = time.monotonic()
                assert client.get("/healthz", timeout=120).status_code == 200
                answers.append(within(1.5, asked, slowness))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        ended.set()
        asking.join()
    assert all(answers)


@attack("deep-keys", "make the server read a configuration in which one key has 7,000 parts")
def test_a_configuration_of_deep_keys(world: World, stranger: httpx.Client) -> None:
    config = ".".join("a" * 7000) + "=1\n[b]\n"
    body = {"lesson": "cargo-config", "command": "cargo build", "files": {".cargo/config.toml": config}}
    with _answers_all_the_while(world):
        run = stranger.post("/api/runs", json=body).json()["id"]
        stranger.delete(f"/api/runs/{run}")


@attack("slow-charset", "send a form in punycode, whose decoding takes minutes, or one that does not decode to text")
def test_a_form_in_a_slow_charset(world: World, stranger: httpx.Client) -> None:
    for charset, data in (("punycode", b"b" * 150_000), ('"PunyCode"', b"b" * 150_000), ("unicode_escape", rb"\ud800")):
        part = b'--b\r\nContent-Disposition: form-data; name="file:src/main.rs"\r\n\r\n' + data + b"\r\n--b--"
        headers = {"content-type": f"multipart/form-data; charset={charset}; boundary=b"}
        with _answers_all_the_while(world):
            answer = stranger.post("/lessons/hello-std/take", content=part, headers=headers)
        assert answer.status_code == 415
    headers = {"content-type": "multipart/form-data; boundary=b; charset=UTF-8"}
    good = b'--b\r\nContent-Disposition: form-data; name="command"\r\n\r\ncargo build\r\n--b--'
    assert stranger.post("/lessons/hello-std/zip", content=good, headers=headers).status_code == 200


@attack("countless-errors", "post a run with a hundred thousand invalid or unknown fields")
def test_countless_errors(world: World, stranger: httpx.Client) -> None:
    pid = world.server.process.pid
    before = resident(pid)
    run = {"lesson": "hello-std", "command": "cargo build"}
    wrong = {f"{number:x}": 1 for number in range(90_000)}
    for body in (run | {"files": wrong}, run | wrong):
        with _answers_all_the_while(world):
            text = json.dumps(body, separators=(",", ":"))
            answer = stranger.post("/api/runs", content=text, headers={"content-type": "application/json"})
        assert answer.status_code == 422
        assert resident(pid) - before < 64 << 20
    text = json.dumps(run | {"\ud800": 1})
    answer = stranger.post("/api/runs", content=text, headers={"content-type": "application/json"})
    assert answer.status_code == 422, "a name that is no text is no fault of the server's"


@attack("countless-chunks", "send a body in chunks of one byte, in five requests at once")
def test_a_body_in_countless_chunks(world: World) -> None:
    host, port = world.server.url.removeprefix("http://").split(":")
    head = b"POST /lessons/hello-std/zip HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    head += b"Content-Type: application/x-www-form-urlencoded\r\n"

    def send(more: bytes) -> None:
        with socket.create_connection((host, int(port)), 60) as connection, contextlib.suppress(OSError):
            connection.sendall(head + more + b"\r\n")
            for _ in range(20):
                connection.sendall(b"1\r\nx\r\n" * 40_000)

    with _answers_all_the_while(world), ThreadPoolExecutor(10) as pool:
        list(pool.map(send, [b""] * 5 + [b"Origin: null\r\n"] * 5))


@attack("many-bodies", "send 400 bodies of 1 MB at once, each without its last byte")
def test_many_bodies_at_once(world: World) -> None:
    pid = world.server.process.pid
    before = resident(pid)
    host, port = world.server.url.removeprefix("http://").split(":")
    head = b"POST /lessons/hello-std/zip HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 203.0.113.9\r\n"
    head += b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000000\r\n\r\n"
    with contextlib.ExitStack() as stack:

        def send(_number: int) -> None:
            connection = stack.enter_context(socket.create_connection((host, int(port)), 30))
            with contextlib.suppress(OSError):
                connection.sendall(head + b"a=" + b"x" * 990_000)

        with ThreadPoolExecutor(20) as pool:
            list(pool.map(send, range(400)))
        assert resident(pid) - before < 128 << 20
        with world.client() as client:
            answer = client.post("/lessons/hello-std/zip", data={"command": "cargo build"})
        assert answer.status_code == 200, "another address is served all the same"


@attack("countless-fields", "send thirty forms at once, each with 1 MB of empty fields")
def test_countless_empty_fields(world: World, stranger: httpx.Client) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}

    def send(_number: int) -> None:
        with contextlib.suppress(httpx.TransportError):
            form = b"&" * 1_000_000 + b"command=x"
            assert stranger.post("/lessons/hello-std/zip", content=form, headers=headers).status_code == 400

    with _answers_all_the_while(world), ThreadPoolExecutor(30) as pool:
        list(pool.map(send, range(30)))
