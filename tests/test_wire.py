"""Connections and streams: an idle client keeps neither them nor their memory."""

import os
import re
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from bench.pace import pace
from tests.support.clients import seated
from tests.support.environment import within
from tests.support.polling import eventually
from tests.support.server import Server

LOOP = 'fn main() { println!("turning"); loop { std::thread::sleep(std::time::Duration::from_secs(1)); } }'
LONG = {"PLAYGROUND_RUN_SECONDS": "300", "PLAYGROUND_CPU_SECONDS": "300"}
"""The settings of a server whose run must not end before the test on a busy machine."""
_ESTABLISHED = "01"  # TCP_ESTABLISHED of net/tcp_states.h, in the kernel
FLOOD = 'fn main() { for _ in 0..%d { println!("{}", "x".repeat(999)); } }'


def connect(server: str, *, buffer: int = 0) -> socket.socket:
    parts = urlsplit(server)
    wire = socket.socket()
    if buffer:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    wire.settimeout(20)
    wire.connect((parts.hostname or "", parts.port or 0))
    return wire


def ask(wire: socket.socket, path: str) -> None:
    wire.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


def healthy(wire: socket.socket) -> bool:
    """Return True if the server answers on this connection."""
    ask(wire, "/healthz")
    answer = b""
    while not answer.endswith(b'"ok"}') and (piece := wire.recv(65536)):
        answer += piece
    return b"200 OK" in answer


def answers(server: Server) -> bool:
    """Return True if the server accepts a new connection and answers on it."""
    with suppress(httpx.TransportError):
        return httpx.get(f"{server.url}/healthz", timeout=10).status_code == 200
    return False


def post(client: httpx.Client, source: str | None = None, command: str = "cargo run") -> str:
    """Start a run and return the path of its events."""
    files = {} if source is None else {"src/main.rs": source}
    answer = client.post("/api/runs", json={"lesson": "hello-std", "command": command, "files": files})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["events"])


def wait_for(client: httpx.Client, path: str, words: str) -> None:
    with client.stream("GET", path) as stream:
        for text in stream.iter_text():
            if words in text:
                return
    raise AssertionError(f"{words!r} never came")


def rest(wire: socket.socket) -> bytes:
    """Read one complete answer from a connection that stays open."""
    received = b""
    while not received.endswith(b"0\r\n\r\n"):
        piece = wire.recv(65536)
        assert piece, "cut off"
        received += piece
    return received


def ends_within(seconds: float, wire: socket.socket) -> bool:
    """Wait until the server closes the connection; return True if that took less than so many seconds."""
    began = time.monotonic()
    try:
        while wire.recv(65536):
            pass
    except ConnectionError:
        pass
    return within(seconds, began)


def resident(server: Server) -> float:
    """Return the server's resident memory in MB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{server.process.pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def open_streams(server: Server) -> int:
    """Return the number of streams that the server counts; it must have metrics."""
    text = httpx.get(f"{server.url}/metrics", timeout=30).text
    [count] = re.findall(r"^playground_streams (\S+)$", text, re.MULTILINE)
    return int(float(count))


def files_of(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def open_artifacts(server: Server) -> int:
    """Return how often the server has an artifact open."""
    found = 0
    for link in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it has been closed meanwhile
            found += "/artifacts/" in os.readlink(link)
    return found


def is_held(wire: socket.socket) -> bool:
    """Return True while the server has its end of this connection open."""
    ends = [f"0100007F:{port:04X}" for port in (wire.getpeername()[1], wire.getsockname()[1])]
    listed = [line.split()[1:4] for line in Path("/proc/net/tcp").read_text().splitlines()]
    return [*ends, _ESTABLISHED] in listed


@contextmanager
def many_files() -> Iterator[None]:
    """Raise the limit of open files for this process and the servers it starts."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, before[1]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def hasty(start_server: Callable[..., Server]) -> Server:
    return start_server(PLAYGROUND_REQUEST_SECONDS="1", PLAYGROUND_STALLED_SECONDS="1")


def test_a_head_that_drips_is_not_waited_for(hasty: Server) -> None:
    began = time.monotonic()
    with connect(hasty.url) as silent, connect(hasty.url) as dripping, connect(hasty.url) as second:
        ask(second, "/healthz")
        assert b"200 OK" in second.recv(65536)
        second.sendall(b"GET /healthz HTTP/1.1\r\n")
        dripping.settimeout(0.1)
        dripping.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        ended = False
        while not ended and time.monotonic() - began < 20:
            try:
                dripping.sendall(b"X: y\r\n")
                ended = dripping.recv(1) == b""
            except TimeoutError:
                pass
            except ConnectionError:
                ended = True
        assert ended
        assert time.monotonic() - began > 0.5
        assert within(5, began)
        assert ends_within(5, silent)
        assert ends_within(5, second)


def test_a_connection_waits_for_its_next_request_longer_than_for_a_head(hasty: Server) -> None:
    with connect(hasty.url) as wire:
        assert healthy(wire)
        # Longer than `hasty` waits for a head, and than the five seconds that uvicorn and many clients have by default.
        time.sleep(5.5)
        assert healthy(wire)


def test_what_is_sent_after_the_answer_is_not_read_for_ever(hasty: Server) -> None:
    began = time.monotonic()
    with connect(hasty.url) as wire:
        wire.sendall(b"POST /api/runs HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1000000\r\n\r\n")
        assert b" 400 " in wire.recv(65536)
        ended = False
        while not ended and time.monotonic() - began < 20:
            try:
                wire.sendall(b"x")
                time.sleep(0.05)
            except ConnectionError:
                ended = True
        assert ended
        assert time.monotonic() - began > 0.5
        assert within(5, began)


def test_the_number_of_connections_is_limited(start_server: Callable[..., Server]) -> None:
    limits = {"PLAYGROUND_MAX_CONNECTIONS": "5", "PLAYGROUND_MAX_RUN_STREAMS": "9"}
    server = start_server(PLAYGROUND_REQUEST_SECONDS="60", **limits)
    with ExitStack() as stack:
        wires = [stack.enter_context(connect(server.url)) for _ in range(5)]
        wires[4].sendall(b"GET /healthz HTTP/1.1\r\n")
        assert all(healthy(wire) for wire in wires[:4])
        sixth = stack.enter_context(connect(server.url))
        assert ends_within(5, wires[4]), "the longest idle gives way, half a head or not"
        assert healthy(sixth)
        with httpx.Client(base_url=server.url, timeout=30) as client:
            path = post(client, LOOP)
        assert ends_within(5, wires[0])
        wires = [*wires[1:4], sixth, stack.enter_context(connect(server.url))]
        for wire in wires:
            ask(wire, path)
            assert b"200 OK" in wire.recv(4096)
        with connect(server.url) as another:
            assert healthy(another), "a script that follows five streams leaves room for another"
    assert eventually(lambda: answers(server)), "the closed ones give their places back"


def test_a_flood_of_idle_connections_locks_no_client_out(start_server: Callable[..., Server]) -> None:
    with many_files():
        server = start_server(PLAYGROUND_MAX_CONNECTIONS="300", PLAYGROUND_REQUEST_SECONDS="60")
    with ExitStack() as stack:
        for number in range(600):
            wire = stack.enter_context(connect(server.url))
            wire.sendall([b"", b"G", b"GET / HTTP/1.1\r\nHost: loc"][number % 3])
        for _ in range(20):
            assert httpx.get(f"{server.url}/healthz", timeout=10).status_code == 200


def test_streams_are_limited_by_run_by_seat_and_in_all(start_server: Callable[..., Server]) -> None:
    limits = {"PLAYGROUND_MAX_RUN_STREAMS": "2", "PLAYGROUND_MAX_SEAT_STREAMS": "3", "PLAYGROUND_MAX_STREAMS": "4"}
    server = start_server(PLAYGROUND_METRICS="127.0.0.1", **limits)
    with httpx.Client(base_url=server.url, timeout=30) as script, seated(server.url) as learner, ExitStack() as stack:
        runs = [post(script, LOOP), post(script, LOOP), post(script, LOOP)]

        def follow(client: httpx.Client, path: str) -> int:
            return stack.enter_context(client.stream("GET", path)).status_code

        assert [follow(script, runs[0]) for _ in range(3)] == [200, 200, 429]
        refused = script.get(runs[0])
        assert refused.json()["error"]["code"] == "too-many-streams"
        assert refused.headers["retry-after"] == "5"
        assert [follow(learner, runs[1]), follow(script, runs[1]), follow(script, runs[2])] == [200, 200, 503]
        stack.close()
        assert eventually(lambda: open_streams(server) == 0)
        assert [follow(learner, path) for path in (runs[0], runs[0], runs[1], runs[1])] == [200, 200, 200, 429]
        stack.close()
        for path in runs:
            script.delete(path.removesuffix("/events"))
        assert eventually(lambda: open_streams(server) == 0)
        own = post(learner, command="rustc --version")
        assert learner.get(own.removeprefix("/api")).status_code == 200, "the pages' stream counts too, and has ended"
        assert [script.get(runs[0]).status_code for _ in range(9)] == [200] * 9, "a stream that has ended is not open"


def test_a_thousand_readers_cost_little(start_server: Callable[..., Server]) -> None:
    with many_files():
        server = start_server(PLAYGROUND_MAX_RUN_STREAMS="1001", **LONG)
    with many_files(), ExitStack() as stack, httpx.Client(base_url=server.url, timeout=30) as client:
        path = post(client, LOOP.replace("{", '{ for _ in 0..900 { println!("{}", "x".repeat(999)); }', 1))
        wait_for(client, path, "xxxx")
        time.sleep(1)
        before, files = resident(server), files_of(server)
        wires = []
        for _ in range(1000):
            wires.append(wire := stack.enter_context(connect(server.url, buffer=4096)))
            ask(wire, path)
        assert all(wire.recv(12) == b"HTTP/1.1 200" for wire in wires)
        assert client.get(path).status_code == 503
        time.sleep(1)
        silent = resident(server) - before
        began = time.monotonic()
        assert client.get("/healthz").status_code == 200
        print(
            f"1000 readers that take nothing of 900 KB: {silent:.0f} MB; an answer beside them: "
            f"{1000 * (time.monotonic() - began):.0f} ms"
        )
        assert silent < 150
        client.delete(path.removesuffix("/events"))
        stack.close()
        assert eventually(lambda: files_of(server) <= files + 5)
        assert client.get(path).status_code == 200


def test_a_reader_that_takes_nothing_is_cut_off(hasty: Server) -> None:
    with httpx.Client(base_url=hasty.url, timeout=30) as client:
        path = post(client, FLOOD % 1000)
        assert client.get(path).text.count("x" * 999) == 1000
    with connect(hasty.url, buffer=4096) as silent:
        ask(silent, path)
        assert b"200 OK" in silent.recv(20)
        assert eventually(lambda: not is_held(silent))
        received = b""
        with suppress(ConnectionError):
            while piece := silent.recv(65536):
                received += piece
        assert not received.endswith(b"0\r\n\r\n")
        assert len(received) < 500_000, "what the system had taken, and no more"


def test_a_reader_that_is_slow_gets_everything(start_server: Callable[..., Server]) -> None:
    server = start_server(PLAYGROUND_REQUEST_SECONDS="1", PLAYGROUND_STALLED_SECONDS="3")
    with httpx.Client(base_url=server.url, timeout=30) as client:
        path = post(client, FLOOD % 1000)
        assert client.get(path).status_code == 200
    with connect(server.url, buffer=65536) as slow:
        ask(slow, path)
        received = b""
        began = time.monotonic()
        while not received.endswith(b"0\r\n\r\n"):
            piece = slow.recv(8192)
            assert piece, f"cut off after {len(received)} bytes and {time.monotonic() - began:.1f} seconds"
            received += piece
            time.sleep(0.03)
        assert time.monotonic() - began > 3, "longer than a silent reader is waited for"
        assert received.count(b'"type":"verdict"') == 1


def test_a_run_that_is_dropped_ends_its_slow_readers_with_a_sentence(start_server: Callable[..., Server]) -> None:
    server = start_server(PLAYGROUND_RUN_TTL="1", PLAYGROUND_STALLED_SECONDS="120")
    with httpx.Client(base_url=server.url, timeout=30) as client, ExitStack() as stack:
        path = post(client, FLOOD % 1000)
        paths = (path, path.removeprefix("/api"))
        slow = [stack.enter_context(connect(server.url, buffer=4096)) for _ in paths]
        for wire, each in zip(slow, paths, strict=True):
            ask(wire, each)
            assert b"200 OK" in wire.recv(20)
        wait_for(client, path, '"type":"verdict"')
        assert eventually(lambda: client.get(path.removesuffix("/events")).status_code == 404)
        assert client.get(path).json()["error"]["code"] == "no-such-run"
        api, page = (rest(wire) for wire in slow)
    assert b"event: gone\ndata: " in api
    assert b'"code":"no-such-run"' in api
    assert b'"type":"verdict"' not in api
    assert b"or has expired" in page
    assert b"event: run-done" in page


def test_what_stays_open_does_not_hold_up_the_end(start_server: Callable[..., Server]) -> None:
    server = start_server(PLAYGROUND_MAX_RUNS="1", PLAYGROUND_MAX_RUN_STREAMS="100")
    with ExitStack() as stack, httpx.Client(base_url=server.url, timeout=30) as client:
        running, queued = post(client, LOOP), post(client, LOOP)
        wait_for(client, running, "turning")
        wires = [stack.enter_context(connect(server.url)) for _ in range(50)]
        for number, wire in enumerate(wires):
            ask(wire, (running, queued)[number % 2])
            assert b"200 OK" in wire.recv(65536)
        half_head, half_body, idle = (stack.enter_context(connect(server.url)) for _ in range(3))
        half_head.sendall(b"GET / HTTP/1.1\r\nHost: local")
        half_body.sendall(b"POST /api/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        half_body.sendall(b"Content-Length: 100\r\n\r\n{")
        ask(idle, "/healthz")
        time.sleep(0.3)
        slowness, began = pace(), time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        for wire in wires:
            text = b""
            while piece := wire.recv(65536):
                text += piece
            assert b'"type":"verdict"' in text, "each stream ends with its last event"
        assert server.process.wait(timeout=10) is not None
        assert within(2, began, slowness), "uvicorn would cut them off later"


def elsewhere(number: int) -> dict[str, str]:
    """Return a header that makes a local request look like a remote one behind a proxy."""
    return {"x-forwarded-for": f"192.0.2.{number}"}


def test_a_hundred_seats_behind_one_address_and_others_besides(start_server: Callable[..., Server]) -> None:
    with many_files():
        limits = {"PLAYGROUND_MAX_RUN_STREAMS": "1000", "PLAYGROUND_MAX_STREAMS": "220"}
        server = start_server(**LONG, **limits)
    with many_files(), ExitStack() as stack, httpx.Client(base_url=server.url, timeout=30) as here:
        path = post(here, LOOP)
        wait_for(here, path, "turning")

        def follow(client: httpx.Client) -> int:
            return stack.enter_context(client.stream("GET", path)).status_code

        seats = [
            stack.enter_context(httpx.Client(base_url=server.url, timeout=30, headers=elsewhere(1), verify=False))
            for _ in range(100)
        ]
        for seat in seats:
            assert seat.get("/").status_code == 200
            assert [follow(seat), follow(seat)] == [200, 200]
        assert [follow(here) for _ in range(60)] == [200] * 60, "20 that were free, 40 of the class's"
        assert seats[99].get("/lessons/hello-std").status_code == 200
        assert follow(seats[99]) == 503, "the class has more than its half"
        assert here.get("/healthz").status_code == 200


def test_one_address_may_have_every_stream_until_another_asks(start_server: Callable[..., Server]) -> None:
    server = start_server(PLAYGROUND_MAX_STREAMS="6", PLAYGROUND_MAX_RUN_STREAMS="20")
    with ExitStack() as stack:
        one, other, third = (
            stack.enter_context(httpx.Client(base_url=server.url, timeout=10, headers=elsewhere(number)))
            for number in (1, 2, 3)
        )
        path = post(one, LOOP)

        def follow(client: httpx.Client) -> int:
            return stack.enter_context(client.stream("GET", path)).status_code

        assert [follow(one) for _ in range(7)] == [200] * 6 + [503]
        assert [follow(other) for _ in range(4)] == [200] * 3 + [503], "its half, and no more"
        assert follow(third) == 200
        assert follow(one) == 503


def test_downloads_are_limited_by_seat_and_in_all(start_server: Callable[..., Server]) -> None:
    server = start_server(PLAYGROUND_READY_SECONDS="0", PLAYGROUND_MAX_DOWNLOADS="3", PLAYGROUND_MAX_SEAT_DOWNLOADS="2")
    main = "#[used] static mut BIG: [u64; 1 << 20] = [1; 1 << 20]; fn main() {}"
    with httpx.Client(base_url=server.url, timeout=30) as script, ExitStack() as stack:
        events = post(script, main, "cargo build")
        assert script.get(events).status_code == 200
        path = events.replace("/events", "/artifact/file")

        def stalled(number: int) -> bytes:
            wire = stack.enter_context(connect(server.url, buffer=4096))
            wire.sendall(
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.{number}\r\n\r\n".encode()
            )
            return wire.recv(15)[9:12]

        assert [stalled(1) for _ in range(4)] == [b"200", b"200", b"429", b"429"]
        assert [stalled(2) for _ in range(2)] == [b"200", b"503"]
        assert stalled(3) == b"200", "an address that has none yet displaces one of the largest"
        assert eventually(lambda: open_artifacts(server) == 3), "the one that was displaced is closed"
        stack.close()
        eventually(lambda: script.get(path).status_code == 200)
        assert len(script.get(path).content) > 8 << 20


def test_what_waits_for_slow_readers_is_bounded(start_server: Callable[..., Server]) -> None:
    server = start_server(PLAYGROUND_MAX_RUN_STREAMS="200")
    main = 'fn main() { print!("{}", "<".repeat(250_000)); }'
    with many_files(), httpx.Client(base_url=server.url, timeout=30) as client, ExitStack() as stack:
        with seated(server.url) as learner:
            form = {"command": "cargo run", "file:src/main.rs": main}
            assert len(learner.post("/lessons/hello-std/runs", data=form).content) > 1_000_000
            cookies = "; ".join(f"{name}={value}" for name, value in learner.cookies.items())
            before = resident(server)
            for _ in range(150):
                wire = stack.enter_context(connect(server.url, buffer=4096))
                wire.sendall(
                    f"GET /lessons/hello-std HTTP/1.1\r\nHost: localhost\r\nCookie: {cookies}\r\n\r\n".encode()
                )
        time.sleep(1)
        assert client.get("/healthz").status_code == 200
        print(f"150 pages of 1 MB that nobody takes: {resident(server) - before:.0f} MB")
        assert resident(server) - before < 60
