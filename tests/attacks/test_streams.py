"""Readers that are slow, silent or countless, and servers that end in the middle."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.attacks.case import HELLO, MANIFEST, attack, program
from tests.attacks.watch import children, command_line, resident
from tests.attacks.world import USUAL, World, lines
from tests.conftest import serving

_SLOW = 'fn main() { for n in 0..20 { println!("{n}"); std::thread::sleep(std::time::Duration::from_millis(100)); } }'


@contextlib.contextmanager
def _connections(world: World, count: int) -> Iterator[list[socket.socket]]:
    host, port = world.server.url.removeprefix("http://").split(":")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * count)), hard))
    opened: list[socket.socket] = []
    try:
        opened.extend(socket.create_connection((host, int(port)), 10) for _ in range(count))
        yield opened
    finally:
        for one in opened:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _post(client: httpx.Client, main: str = HELLO, command: str = "cargo run") -> str:
    body = {"lesson": "hello-std", "command": command, "files": {"src/main.rs": main, "Cargo.toml": MANIFEST}}
    return str(client.post("/api/runs", json=body).json()["id"])


def _answers_soon(world: World, times: int = 5) -> None:
    with world.client() as client:
        for _ in range(times):
            asked = time.monotonic()
            assert client.get("/healthz").status_code == 200
            assert time.monotonic() - asked < 2


@attack("subscribers", "follow one run a thousand times at once")
def test_a_thousand_subscribers(world: World) -> None:
    pid = world.server.process.pid
    before = resident(pid)
    with world.client() as client, _connections(world, 1000) as opened:
        run = _post(client, _SLOW)
        ask = f"GET /api/runs/{run}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        for one in opened:
            one.sendall(ask)
        time.sleep(2)
        _answers_soon(world)
        assert resident(pid) - before < 150 << 20
        client.delete(f"/api/runs/{run}")
    assert [event["status"] for event in world.honest() if event["type"] == "finished"] == ["ok"]


@attack("silent-reader", "follow runs that flood and never read a byte of it")
def test_silent_readers(world: World) -> None:
    pid = world.server.process.pid
    before = resident(pid)
    flood = 'fn main() { for _ in 0..2000 { println!("{}", "x".repeat(400)); } }'
    with world.client() as client, _connections(world, 100) as opened:
        run = _post(client, flood)
        for one in opened:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            one.sendall(f"GET /api/runs/{run}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        for _ in range(100):
            if client.get(f"/api/runs/{run}").json()["state"] == "done":
                break
            time.sleep(0.1)
        _answers_soon(world)
        # 100 readers of 800 KB: a copy of it for each of them would be 80 MB.
        assert resident(pid) - before < 60 << 20


@attack("slow-requests", "open 300 connections and send a request a byte at a time")
def test_slow_requests(world: World) -> None:
    pid = world.server.process.pid
    before = resident(pid)
    with _connections(world, 300) as opened:
        for number, one in enumerate(opened):
            one.sendall(
                [b"G", b"GET / HTTP/1.1\r\nHost: loc", b"POST /api/runs HTTP/1.1\r\nHost: localhost\r\n"][number % 3]
            )
        for one in opened[2::3]:
            one.sendall(b"Content-Length: 900000\r\nContent-Type: application/json\r\n\r\n[")
        _answers_soon(world)
        assert [event["status"] for event in world.honest() if event["type"] == "finished"] == ["ok"]
    assert resident(pid) - before < 60 << 20


@attack("strange-event-ids", "continue a stream from ids that are huge, negative or no numbers")
def test_strange_event_ids(world: World) -> None:
    with world.client() as client:
        run = _post(client, command="rustc --version")
        whole = client.get(f"/api/runs/{run}/events").text
        for strange in ("-1", "0", "1e9", "x", "٣", "1" * 4000, "0x1", "1;2"):
            answer = client.get(f"/api/runs/{run}/events", headers={b"Last-Event-ID": strange.encode()})
            assert answer.status_code == 200
            assert answer.text in (whole, "") or whole.endswith(answer.text)


_LEAVES = program("""
    if told("sleep") { nap(120_000); return; }
    unsafe { if fork() == 0 { setsid(); again("sleep").exec(); } }
    nap(120_000);""")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda how: how.name)
@attack("server-ends", "outlive the server, when it is killed in the middle of a run or ended with Ctrl-C")
def test_nothing_outlives_the_server(world: World, how: signal.Signals, tmp_path: Path) -> None:
    mark = f"outlives-{how.name}-{world.token}"
    mounts = len(Path("/proc/mounts").read_text().splitlines())
    variables = {"PLAYGROUND_ISOLATION": world.level, **USUAL}
    with serving(tmp_path / "data", **variables) as server, httpx.Client(base_url=server.url, timeout=30) as client:
        run = _post(client, _LEAVES.replace("@MARK@", mark))
        with client.stream("GET", f"/api/runs/{run}/events") as stream:
            told = lines(stream)
            assert any(b"begun" in line for line in told)
            for _ in range(50):
                if world.marked(mark):
                    break
                time.sleep(0.1)
            assert world.marked(mark)
            os.kill(server.process.pid, how)
            with contextlib.suppress(httpx.HTTPError):
                for _ in told:
                    pass
        server.process.wait(timeout=10)
        time.sleep(1)
        left = world.marked(mark)
        for pid in left:
            os.kill(pid, 9)
        assert not left
        runs = [pid for pid in children(None) if str(tmp_path) in command_line(pid)]
        assert not runs
    assert len(Path("/proc/mounts").read_text().splitlines()) == mounts
    with serving(tmp_path / "data", **variables) as server:
        # The next server removes what the killed one could not.
        for _ in range(50):
            if len(list((tmp_path / "scratch").glob("server-*"))) == 1:
                break
            time.sleep(0.1)
        assert len(list((tmp_path / "scratch").glob("server-*"))) == 1
        server.stop(signal.SIGTERM)


def test_another_server_may_run_beside(world: World, tmp_path: Path) -> None:
    """Two servers on one machine do not end each other's runs."""
    with serving(tmp_path / "data", PLAYGROUND_ISOLATION=world.level) as other:
        with httpx.Client(base_url=other.url, timeout=30) as client:
            run = _post(client)
            assert '"status":"ok"' in client.get(f"/api/runs/{run}/events").text.replace(" ", "")
        other.stop(signal.SIGTERM)
    assert world.neighbour()
    assert subprocess.run(["true"], check=False).returncode == 0
