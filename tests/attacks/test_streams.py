"""Slow, silent or very many readers, and servers that stop in the middle."""

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bench.pace import pace
from tests.attacks.case import HELLO, MANIFEST, attack, program
from tests.attacks.watch import children, command_line, resident
from tests.attacks.world import USUAL, World, lines
from tests.support.environment import within
from tests.support.polling import eventually
from tests.support.server import serving

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
            assert within(5, asked)


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


@attack("silent-reader", "follow runs that flood their output, and never read a byte")
def test_silent_readers(world: World) -> None:
    pid = world.server.process.pid
    before = resident(pid)
    flood = 'fn main() { for _ in 0..2000 { println!("{}", "x".repeat(400)); } }'
    with world.client() as client, _connections(world, 100) as opened:
        run = _post(client, flood)
        for one in opened:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            one.sendall(f"GET /api/runs/{run}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        eventually(lambda: client.get(f"/api/runs/{run}").json()["state"] == "done")
        _answers_soon(world)
        # A copy of the 800 KB for each of 100 readers would take 80 MB.
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


_SLOW_WORDS = {
    "look-inside": ("\\n", 900_000, ""),
    "target-triple": ("a-", 400_000, " "),
    "hello-std": ("NEEDED", 150_000, ""),
    "panic-message": ("panicked at ", 70_000, ""),
}
"""For each lesson that searches the output: the word that a program prints, how often, and a suffix."""


def _macro(said: str) -> dict[str, str]:
    """Return a crate whose macro runs this code in the compiler, printing among the compiler's messages."""
    tell = f"pub fn tell(_: proc_macro::TokenStream) -> proc_macro::TokenStream {{ {said} Default::default() }}"
    main = f"#[cfg(proc_macro)]\n#[proc_macro]\n{tell}\n#[cfg(not(proc_macro))]\ntold::tell!();\n"
    library = '[lib]\nname = "told"\npath = "src/main.rs"\nproc-macro = true\n'
    return {"src/main.rs": f"{main}#[cfg(not(proc_macro))]\nfn main() {{}}\n", "Cargo.toml": f"{MANIFEST}\n{library}"}


def _forged(word: str, times: int, lines: int = 1, **parts: object) -> dict[str, str]:
    """Return such a crate that prints a compiler message with ``@`` replaced by ``times`` words."""
    message = {"level": "error", "message": "linking", "rendered": "told", **parts}
    line = json.dumps({"reason": "compiler-message", "message": message}).replace('"@@"', "@")
    often = f'let line = r#"{line}"#.replace("@", &r#"{word}"#.repeat({times}));'
    return _macro(f'{often} for _ in 0..{lines} {{ println!("{{line}}"); }}')


def _ends(client: httpx.Client, world: World, lesson: str, files: dict[str, str]) -> str:
    """Run to the end while the server keeps answering others; return the run's id."""
    body = {"lesson": lesson, "command": "cargo run", "files": files}
    run = str(client.post("/api/runs", json=body).json()["id"])
    began = time.monotonic()
    # cargo writes 900,000 empty lines one by one, 3 s on a quiet machine, and ten times as long beside four busy loops.
    while within(60, began):
        _answers_soon(world, 1)
        if client.get(f"/api/runs/{run}").json()["state"] == "done":
            return run
        time.sleep(0.1)
    pytest.fail("the run does not end")


@attack(
    "slow-words", "print, or make the compiler print, a text in which a lesson's pattern would be searched for hours"
)
def test_words_that_are_slow_to_search(world: World) -> None:
    crates = [
        _forged(r"error[E0308]: mismatched types\n", 7_000, message="@", code={"code": "E0308"}),
        _forged(r"undefined symbol: a\n", 10_000, children=[{"message": "@"}]),
        _forged(
            "a", 200_000, rendered='"cc" "a" "b" "c"', children=[{"message": '"cc" "a" "b" "c"'}, {"message": "@"}]
        ),
        _macro(r'eprint!("error\n{}", "\n".repeat(900_000));'),
    ]
    runs = [
        (lesson, {"src/main.rs": f'fn main() {{ print!("host: {{}}{rest}", "{word}".repeat({times})); }}'})
        for lesson, (word, times, rest) in _SLOW_WORDS.items()
    ]
    with world.client() as client:
        for lesson, files in [*runs, *(("hello-std", files) for files in crates)]:
            run = _ends(client, world, lesson, files)
            # The page's stream also explains the linker's command, for example.
            with client.stream("GET", f"/runs/{run}/events") as stream:
                _answers_soon(world, 1)
                assert sum(map(len, stream.iter_bytes())) > 0


@attack(
    "forged-messages",
    "make the server keep thirty runs, each with 8 MB of forged compiler messages of many small parts",
)
def test_forged_messages_of_many_parts(world: World) -> None:
    place = {"file_name": "", "line_start": 1, "column_start": 1, "line_end": 1, "column_end": 1, "is_primary": True}
    span = json.dumps(place, separators=(",", ":"))
    files = _forged(f"{span},", 200, 400, level="note", spans=["@@", place])
    files = {path: text.replace("@,", "@") for path, text in files.items()}
    pid = world.server.process.pid
    before = resident(pid)
    with world.client() as client:
        for _ in range(30):
            run = _ends(client, world, "hello-std", files)
            assert '"type":"diagnostic"' in client.get(f"/api/runs/{run}/events").text, "nothing was forged"
        assert resident(pid) - before < 150 << 20


_LOUD = """fn main() {
    let mut text = String::from("\\u{1f600}\\x1b[1;2;3;4;7;9;41m");
    for n in 0..170_000 { text += &format!("\\x1b[3{}mx", n % 8); }
    print!("{text}");
}"""


@contextlib.contextmanager
def _again_and_again(client: httpx.Client, path: str, readers: int, **headers: str) -> Iterator[None]:
    """Keep many readers with this client's cookies that repeat their request as soon as it is answered."""
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(
            base_url=client.base_url, cookies=dict(client.cookies), timeout=60, headers=headers
        ) as reader:
            while not stop.is_set():
                with reader.stream("GET", path) as answer:
                    for _ in answer.iter_raw():
                        if stop.is_set():
                            break

    threads = [threading.Thread(target=ask) for _ in range(readers)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1.5)
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _page_comes_soon(client: httpx.Client) -> None:
    for _ in range(4):
        asked = time.monotonic()
        assert client.get("/lessons/hello-std").status_code == 200
        assert within(2, asked)


@pytest.mark.quiet
@attack("loud-page", "load the page and the stream of a run that printed 1 MB of colours, in ten tabs, forever")
def test_a_loud_page_again_and_again(world: World, stranger: httpx.Client) -> None:
    with world.client() as loud:
        loud.get("/")
        for client, main in ((loud, _LOUD), (stranger, HELLO)):
            form = {"file:src/main.rs": main, "file:Cargo.toml": MANIFEST, "command": "cargo run"}
            assert client.post("/lessons/hello-std/runs", data=form, timeout=60).status_code == 200
        body = {"lesson": "hello-std", "command": "cargo run", "files": {"src/main.rs": _LOUD}}
        run = loud.post("/api/runs", json=body).json()["id"]
        with _again_and_again(loud, "/lessons/hello-std", 10):
            _page_comes_soon(stranger)
        with _again_and_again(loud, f"/runs/{run}/events", 10):
            _page_comes_soon(stranger)


@pytest.mark.quiet
@attack("loud-output", "request a run's whole output, 1 MB of colours, in twenty tabs, forever")
def test_a_loud_output_again_and_again(world: World, stranger: httpx.Client) -> None:
    with world.client() as loud:
        loud.get("/")
        body = {"lesson": "hello-std", "command": "cargo run", "files": {"src/main.rs": _LOUD, "Cargo.toml": MANIFEST}}
        run = loud.post("/api/runs", json=body).json()["id"]
        loud.get(f"/api/runs/{run}/events")
        with _again_and_again(loud, f"/runs/{run}/output", 20):
            _page_comes_soon(stranger)


@pytest.mark.quiet
@attack("compressed-download", "download a program of 56 MB, compressed, in twenty tabs")
def test_a_large_program_is_not_compressed_again_and_again(world: World, stranger: httpx.Client) -> None:
    main = "#[used] static mut BIG: [u64; 7 << 20] = [0x0123_4567_89ab_cdef; 7 << 20];\nfn main() {}"
    with world.client() as client:
        run = _post(client, main, "cargo build")
        assert '"artifact"' in client.get(f"/api/runs/{run}/events").text
        path = f"/api/runs/{run}/artifact/file"
        with client.stream("GET", path, headers={"accept-encoding": "gzip"}) as answer:
            assert int(answer.headers["content-length"]) > 56 << 20
        with _again_and_again(client, path, 20, **{"accept-encoding": "gzip"}):
            _page_comes_soon(stranger)


_LARGE = program("""
    for _ in 0..100 { unsafe { if fork() == 0 {
        let held: Vec<_> = (0..250).map(|_| fs::File::open("/dev/null")).collect();
        nap(20_000); exit(0);
    } } }
    nap(20_000);""")


@pytest.mark.quiet
@attack("long-looks", "make every scan of the watcher slow: 25,000 open files in each of four runs", levels=True)
def test_runs_that_take_long_to_look_at(world: World, tmp_path: Path) -> None:
    # A server of its own, because owners whose runs take long do not get every slot while others are present.
    variables = {"PLAYGROUND_ISOLATION": world.level, **USUAL}
    with serving(tmp_path / "data", **variables) as server, httpx.Client(base_url=server.url, timeout=30) as client:
        slowness = pace()
        runs = [_post(client, _LARGE) for _ in range(4)]
        time.sleep(5)
        taken: list[float] = []
        for _ in range(21):
            asked = time.monotonic()
            client.get("/healthz")
            taken.append(time.monotonic() - asked)
        assert all(client.get(f"/api/runs/{run}").json()["state"] == "running" for run in runs)
        for run in runs:
            client.delete(f"/api/runs/{run}")
            assert client.get(f"/api/runs/{run}/events").status_code == 200
    assert sorted(taken)[10] < 0.05 * slowness


@attack("strange-event-ids", "continue a stream from ids that are huge, negative or not numbers")
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
@attack("server-ends", "outlive the server, when it is killed in the middle of a run or ended with Ctrl-C", levels=True)
def test_nothing_outlives_the_server(world: World, how: signal.Signals, tmp_path: Path) -> None:
    mark = f"outlives-{how.name}-{world.token}"
    variables = {"PLAYGROUND_ISOLATION": world.level, **USUAL}
    with serving(tmp_path / "data", **variables) as server, httpx.Client(base_url=server.url, timeout=30) as client:
        run = _post(client, _LEAVES.replace("@MARK@", mark))
        with client.stream("GET", f"/api/runs/{run}/events") as stream:
            told = lines(stream)
            assert any(b"begun" in line for line in told)
            assert eventually(lambda: world.marked(mark))
            os.kill(server.process.pid, how)
            with contextlib.suppress(httpx.HTTPError):
                for _ in told:
                    pass
        server.process.wait(timeout=10)
        time.sleep(0.5)
        eventually(lambda: not world.marked(mark))
        left = world.marked(mark)
        for pid in left:
            os.kill(pid, 9)
        assert not left
        assert eventually(lambda: not any(str(tmp_path) in command_line(pid) for pid in children(None)))
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    with serving(tmp_path / "data", **variables) as server:
        # The next server removes what the killed one could not.
        assert eventually(lambda: len(list((tmp_path / "scratch").glob("server-*"))) == 1)
        server.stop(signal.SIGTERM)


def test_another_server_may_run_beside(world: World, tmp_path: Path) -> None:
    """A second server on the machine leaves the first one's runs alone."""
    with serving(tmp_path / "data", PLAYGROUND_ISOLATION=world.level) as other:
        with httpx.Client(base_url=other.url, timeout=30) as client:
            run = _post(client)
            assert '"status":"ok"' in client.get(f"/api/runs/{run}/events").text.replace(" ", "")
        other.stop(signal.SIGTERM)
    assert world.neighbour()
    assert subprocess.run(["true"], check=False).returncode == 0
