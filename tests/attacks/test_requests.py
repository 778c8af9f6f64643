"""Requests that lie about their origin, their seat or the things they name."""
# ruff: noqa: E501  (programs in another language stand in these lines)

import http.client
import json
import shutil
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.attacks.case import HELLO, MANIFEST, attack
from tests.attacks.watch import resident
from tests.attacks.world import World
from tests.support.environment import within
from tests.support.files import below
from tests.support.polling import eventually

_BODY = {"lesson": "hello-std", "command": "rustc --version"}
_LOOP = 'fn main() { println!("turning"); loop { std::thread::sleep(std::time::Duration::from_secs(1)); } }'


_SEMIHOSTING = r"""
#![no_std]
#![no_main]
use core::{arch::asm, panic::PanicInfo};
#[panic_handler] fn panic(_: &PanicInfo) -> ! { loop {} }
#[link_section = ".vector_table"] #[no_mangle] pub static RESET: extern "C" fn() -> ! = _start;
unsafe fn ask(request: u32, with: *const u32) -> u32 {
    let answer;
    asm!("bkpt 0xAB", inout("r0") request => answer, in("r1") with);
    answer
}
unsafe fn open(path: &str, mode: u32) -> u32 { ask(1, [path.as_ptr() as u32, mode, path.len() as u32 - 1].as_ptr()) }
#[no_mangle] pub extern "C" fn _start() -> ! { unsafe {
    ask(4, "begun\n\0".as_ptr() as *const u32);
    let mut held = [0u8; 65];
    ask(6, [open("@OUT@/secret\0", 0), held.as_mut_ptr() as u32, 64].as_ptr());
    ask(4, held.as_ptr() as *const u32);
    ask(5, [open("@OUT@/kept\0", 4), held.as_ptr() as u32, 4].as_ptr());
    open("@OUT@/ran\0", 4);
    let line = "cat @OUT@/secret; touch @OUT@/ran; echo x >@OUT@/kept\0";
    ask(0x12, [line.as_ptr() as u32, line.len() as u32 - 1].as_ptr());
    ask(0x18, 0x20026 as *const u32);
    loop {}
} }
"""


def _started(answer: httpx.Response) -> bool:
    return answer.status_code < 300 and b'"events"' in answer.content


def _raw(world: World, text: bytes, patience: float = 5) -> bytes:
    """Send these bytes and return the server's answer."""
    host, port = world.server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), patience) as connection:
        connection.sendall(text)
        connection.settimeout(patience)
        answer = b""
        try:
            while data := connection.recv(65536):
                answer += data
        except TimeoutError:
            pass
        return answer


@attack("forged-host", "reach the server under the attacker's host name, as DNS rebinding does")
@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\r\nHost: evil.example",
        "GET / HTTP/1.1\r\nHost: evil.example:{port}",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1.evil.example:{port}",
        "GET / HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: localhost",
        "GET / HTTP/1.1\r\nHost: localhost@evil.example",
        "GET / HTTP/1.1\r\nHost: evil.example#localhost:{port}",
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example",
        "GET / HTTP/1.0",
        "GET / HTTP/1.1\r\nHost: ",
    ],
)
def test_forged_host(world: World, head: str) -> None:
    port = world.server.url.rpartition(":")[2]
    answer = _raw(world, f"{head.format(port=port)}\r\nConnection: close\r\n\r\n".encode())
    assert b"/lessons/hello-std" not in answer
    honest = _raw(world, f"GET / HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n".encode())
    assert b"/lessons/hello-std" in honest


@attack("forged-origin", "start a run from another site's page in the learner's browser")
def test_forged_origin(world: World, stranger: httpx.Client) -> None:
    foreign: list[dict[str, str]] = [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": world.server.url + ".evil.example"},
        {"Origin": world.server.url.replace("http:", "https:") + "0"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": world.server.url, "Sec-Fetch-Site": "cross-site"},
    ]
    for headers in foreign:
        assert not _started(stranger.post("/api/runs", json=_BODY, headers=headers)), headers
        form = stranger.post("/lessons/hello-std/runs", data={"command": "rustc --version"}, headers=headers)
        assert "run-terminal" not in form.text, headers
    assert _started(stranger.post("/api/runs", json=_BODY, headers={"Origin": world.server.url}))


@attack("forged-form", "start a run by a form, which browsers send to other sites without asking")
def test_forged_form(stranger: httpx.Client) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        headers = {"content-type": kind, "Origin": "http://evil.example"}
        assert not _started(stranger.post("/api/runs", content=json.dumps(_BODY), headers=headers))
    assert _started(stranger.post("/api/runs", json=_BODY))


@attack("forged-read", "change something through a link or an image, with GET or HEAD")
def test_forged_read(world: World, stranger: httpx.Client) -> None:
    with _RunInProgress(stranger) as run:
        for method in ("GET", "HEAD", "OPTIONS"):
            for path in (
                f"/runs/{run}/cancel",
                f"/api/runs/{run}?_method=DELETE",
                "/forget",
                "/lessons/hello-std/reset",
            ):
                headers = {"Sec-Fetch-Site": "cross-site", "X-HTTP-Method-Override": "DELETE"}
                stranger.request(method, path, headers=headers)
        assert stranger.get(f"/api/runs/{run}").json()["state"] == "running"
    assert world.neighbour()


class _RunInProgress:
    """A run of this client that continues until the context ends."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def __enter__(self) -> str:
        body = {"lesson": "hello-std", "command": "cargo run", "files": {"src/main.rs": _LOOP, "Cargo.toml": MANIFEST}}
        self._run = str(self._client.post("/api/runs", json=body).json()["id"])
        assert eventually(self._is_running, 30), "the run did not start"
        return self._run

    def _is_running(self) -> bool:
        return bool(self._client.get(f"/api/runs/{self._run}").json()["state"] == "running")

    def __exit__(self, *_error: object) -> None:
        self._client.delete(f"/api/runs/{self._run}")


def _variants(value: str) -> Iterator[str]:
    head, dot, tail = value.rpartition(".")
    if dot:
        yield from (head, head + ".", f"{head}.{'0' * len(tail)}", f"{head}.{tail[:-1]}", f".{tail}")
    flipped = ("0" if value[0] != "0" else "1") + value[1:]
    yield from (flipped, value[:-1], value.upper(), value + "0", f'"{value[:-1]}"', value[::-1], "", "%00" + value)


@attack("forged-cookie", "act as another seat with a guessed, truncated or changed cookie")
def test_forged_cookie(world: World) -> None:
    [(name, value)] = world.cookies.items()
    for variant in _variants(value):
        if variant == value:
            continue
        with httpx.Client(base_url=world.server.url, headers={"Cookie": f"{name}={variant}"}) as client:
            assert world.secrets["seat"] not in client.get("/lessons/hello-std").text, variant
    with httpx.Client(base_url=world.server.url, headers={"Cookie": f"{name}={value}"}) as client:
        assert world.secrets["seat"] in client.get("/lessons/hello-std").text


@attack("chosen-cookie", "give a learner a seat that the attacker knows")
def test_chosen_cookie(world: World) -> None:
    [name] = world.cookies
    for chosen in ("ab" * 16, "ab" * 16 + "." + "cd" * 32, "xx"):
        with httpx.Client(base_url=world.server.url, headers={"Cookie": f"{name}={chosen}"}) as client:
            assert chosen not in client.get("/").headers.get("set-cookie", chosen), "the chosen seat was taken"


@attack("other-seat", "read, follow, look at or end another seat's run by its id")
def test_other_seat(world: World, stranger: httpx.Client) -> None:
    with world.client() as owner:
        owner.get("/")
        with _RunInProgress(owner) as run, world.client() as nobody:
            for client in (stranger, nobody):
                for path in (f"/api/runs/{run}", f"/api/runs/{run}/events", f"/runs/{run}/events"):
                    assert "turning" not in client.get(path).text
                client.delete(f"/api/runs/{run}")
                client.post(f"/runs/{run}/cancel")
                looked = {"lesson": "hello-std", "command": "readelf -h target/debug/blog_os", "after": run}
                assert not _started(client.post("/api/runs", json=looked))
            assert owner.get(f"/api/runs/{run}").json()["state"] == "running"


@attack("other-artifact", "inspect, step through, download or compare another seat's artifact")
def test_other_artifact(world: World, stranger: httpx.Client) -> None:
    with world.client() as owner, world.client() as nobody:
        owner.get("/")
        run, own = _built(owner), _built(stranger)
        pages = [f"/runs/{run}/artifact", f"/runs/{run}/step", f"/lessons/hello-std/comparisons/{run}"]
        pages += [f"/lessons/hello-std/comparisons/{own}.{run}", f"/lessons/hello-std/comparisons/{run}/events"]
        paths = [f"/api/runs/{run}/{what}" for what in ("artifact", "artifact/file", "steps")]
        since = f"/api/runs/{own}/artifact?since={run}"
        for client in (stranger, nobody):
            for path in (*pages, *paths, since):
                assert client.get(path).status_code == 404, path
            client.post(f"/lessons/hello-std/comparisons/{run}/cancel")
        for path in (f"/runs/{run}/artifact", pages[2], paths[0], paths[1]):
            assert owner.get(path).status_code == 200, path


def _built(client: httpx.Client) -> str:
    body = {"lesson": "hello-std", "command": "cargo build", "files": {"src/main.rs": HELLO, "Cargo.toml": MANIFEST}}
    run = str(client.post("/api/runs", json=body).json()["id"])
    assert "artifact" in client.get(f"/api/runs/{run}/events").text
    return run


@attack(
    "semihosting",
    "read and write files and start a shell through the semihosting requests of an emulated ARM board",
    levels=True,
)
def test_semihosting(world: World) -> None:
    if not shutil.which("qemu-system-arm"):
        pytest.skip("QEMU is not here; playground setup --all installs it")
    out = world.outside
    config = (
        '[build]\ntarget = "thumbv7em-none-eabihf"\n[target.thumbv7em-none-eabihf]\n'
        'runner = "qemu-system-arm -M mps2-an386 -semihosting -serial stdio -display none -kernel"\n'
        'rustflags = ["-C", "link-arg=-Tlink.ld"]\n'
    )
    files = {"src/main.rs": _SEMIHOSTING.replace("@OUT@", str(out)), ".cargo/config.toml": config}
    before = sorted(path.name for path in out.iterdir())
    text = "".join(str(event) for event in world.events(files, "cargo run", lesson="boot-arm"))
    assert "begun" in text, "the board did not start"
    assert world.secrets["file"] not in text
    assert sorted(path.name for path in out.iterdir()) == before
    assert (out / "kept").read_text() == "as it was"
    assert world.honest()


@attack("strange-ids", "use paths and nonsense as the names of runs, lessons and toolchains")
def test_strange_ids(world: World, stranger: httpx.Client) -> None:
    strange = [
        "%2e%2e%2f%2e%2e",
        "%00",
        "0" * 32,
        "a" * 4000,
        "%ff",
        "a%0d%0aSet-Cookie:x=y",
        "\u2019",
        "*",
    ]
    for text in strange:
        for path in (f"/api/runs/{text}", f"/api/runs/{text}/events", f"/runs/{text}/events", f"/lessons/{text}"):
            answer = stranger.get(path)
            assert answer.status_code in (400, 404, 414), (path, answer.status_code)
            assert "x=y" not in str(answer.headers)
        for field in ("lesson", "toolchain", "after"):
            assert not _started(stranger.post("/api/runs", json=_BODY | {field: text}))
    assert world.honest()


@attack("path-tricks", "write outside the crate through the name of a file")
def test_path_tricks(world: World, stranger: httpx.Client) -> None:
    out = world.outside
    names = [
        "../x", "../../x", f"{out}/x", f"src/../../../..{out}/x", "src/main.rs\0", "src\\..\\..\\x", "SRC/MAIN.RS", "./Cargo.toml",
        "Cargo.toml/", "Cargo.toml/x", ".cargo/../../x", ".git/hooks/post-checkout", "build.rs", "target/.rustc_info.json", "",
        ".", "..", "~/x", "file://x", "src/main.rs/../../x", "\uff53rc/main.rs", "src/ma\u0301in.rs", "src/\u202ain.rs", "a" * 5000, "C:\\x",
        "src/main.rs ", "..%2fx", "/dev/shm/x", "/proc/self/environ", "rust-toolchain.toml", "Cargo.lock",
    ]  # fmt: skip
    before = sorted(path.name for path in out.iterdir())
    for name in names:
        assert not _started(stranger.post("/api/runs", json=_BODY | {"files": {name: "x"}})), name
        form = stranger.post("/lessons/hello-std/runs", data={"command": "rustc --version", f"file:{name}": "x"})
        assert form.status_code < 500
    assert sorted(path.name for path in out.iterdir()) == before
    assert not [path for path in below(world.scratch) if path.name == "x" and path.is_file()]
    assert _started(stranger.post("/api/runs", json=_BODY | {"files": {"src/main.rs": HELLO}}))


@attack("command-tricks", "run something else through the command line: shells, other files, other options")
def test_command_tricks(world: World, stranger: httpx.Client) -> None:
    out = world.outside
    lines = [
        f"cargo build; touch {out}/ran", f"cargo build && touch {out}/ran", f"cargo build `touch {out}/ran`", f"cargo build\ntouch {out}/ran",
        f"cargo build $(touch {out}/ran)", f"cargo build > {out}/ran", f"cargo build --manifest-path {out}/stolen/Cargo.toml",
        f"cargo build --target-dir {out}/ran", f"cargo build --config {out}/include.toml", f"cargo -C {out}/stolen build",
        f"cargo build --artifact-dir={out}/ran", "cargo build -Zunstable-options", "cargo +nightly build", "cargo install x",
        f"cargo new {out}/ran", f"cargo new blog_os --template {out}", "cargo publish", "cargo login x", f"cargo rustc -- -o {out}/ran",
        f"cargo rustc -- --out-dir {out}/ran", f"cargo rustc -- -C linker={out}/fake-rustc", f"cargo rustc -- --emit=obj={out}/ran",
        f"cargo rustc -- -C incremental={out}/ran", f"cargo rustc -- @{out}/words", f"rustc {out}/module.rs", f"rustc @{out}/words",
        f"readelf -a {out}/secret", "readelf -p 1 /etc/shadow", f"file -f {out}/words", f"file -m {out}/words x", f"nm --plugin {out}/x x",
        f"objdump -d @{out}/words", "objdump -d ../../x", f"size --plugin={out}/x x", "sh", "env", "rustup run nightly sh", "rustup self update",
        f"cargo run -- ; cat {out}/secret", f"cargo build --target {out}/target.json", "cargo build --profile=../x", "strace ls",
    ]  # fmt: skip
    before = sorted(path.name for path in out.iterdir())
    for line in lines:
        answer = stranger.post("/api/runs", json=_BODY | {"command": line})
        if _started(answer):
            told = stranger.get(answer.json()["events"]).text
            assert world.secrets["file"] not in told, line
            assert world.secrets["module"] not in told, line
    assert sorted(path.name for path in out.iterdir()) == before
    assert _started(stranger.post("/api/runs", json=_BODY))


@attack("static-files", "read files of the machine as if they were style sheets")
def test_static_files(world: World) -> None:
    host, port = world.server.url.removeprefix("http://").split(":")
    ways = [
        "/static/../app/settings/__init__.py",
        "/static/%2e%2e/app/settings/__init__.py",
        "/static/..%2fapp/settings/__init__.py",
        "/static//etc/passwd",
    ]
    ways += [
        "/static/....//app/settings/__init__.py",
        "/static/..\\app\\settings\\__init__.py",
        "/static/%252e%252e/app/settings/__init__.py",
        "//etc/passwd",
    ]
    for way in ways:
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.putrequest("GET", way)
        connection.endheaders()
        answer = connection.getresponse().read()
        connection.close()
        assert b"PLAYGROUND_" not in answer, way
        assert b"root:" not in answer, way
    with world.client() as client:
        assert client.get("/static/app.css").status_code in (200, 404)


@attack("large-bodies", "send bodies that are long, deeply nested or made of countless parts")
def test_large_bodies(world: World, stranger: httpx.Client) -> None:
    pid = world.server.process.pid
    before = resident(pid)
    bodies: list[Any] = [
        b"[" * 900_000,
        b'{"lesson":' * 90_000,
        b"{" + b'"a":1,' * 150_000 + b'"b":1}',
        b"1" * 1_000_000,
    ]
    bodies += [
        json.dumps(_BODY | {"files": {f"f{number}": "" for number in range(20_000)}}).encode(),
        b"x" * 50_000_000,
    ]
    for body in bodies:
        answer = stranger.post("/api/runs", content=body, headers={"content-type": "application/json"})
        assert not _started(answer)
    forms = [b"&".join(b"file:%d=x" % number for number in range(90_000)), b"command=" + b"%41" * 300_000]
    for form in forms:
        stranger.post(
            "/lessons/hello-std/runs", content=form, headers={"content-type": "application/x-www-form-urlencoded"}
        )
    parts = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%d"\r\n\r\n\r\n' % number for number in range(12_000)
    )
    stranger.post("/lessons/hello-std/runs", content=parts, headers={"content-type": "multipart/form-data; boundary=x"})
    assert resident(pid) - before < 150 << 20
    assert _started(stranger.post("/api/runs", json=_BODY))


@attack("large-headers", "send headers that are long or countless")
def test_large_headers(world: World) -> None:
    before = resident(world.server.process.pid)
    host = world.server.url.removeprefix("http://")
    for headers in (
        b"X: " + b"a" * 10_000_000,
        b"\r\n".join(b"X%d: a" % number for number in range(100_000)),
        b"Cookie: " + b"seat=a; " * 500_000,
        b"Last-Event-ID: " + b"9" * 100_000,
    ):
        try:
            _raw(
                world,
                b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\n" + headers + b"\r\nConnection: close\r\n\r\n",
            )
        except OSError:
            continue
    assert resident(world.server.process.pid) - before < 60 << 20
    with world.client() as client:
        assert client.get("/healthz").status_code == 200


_HOST = b"Host: localhost\r\n"
_POST = b"POST /api/runs HTTP/1.1\r\n" + _HOST + b"Content-Type: application/json\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_UNCLEAR = {
    "both": _POST + b"Content-Length: 5\r\n" + _CHUNKED + b"\r\n0\r\n\r\n",
    "both, the other way": _POST + _CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    "both, of a foreign site": _POST + b"Origin: null\r\nContent-Length: 5\r\n" + _CHUNKED + b"\r\n0\r\n\r\n",
    "both, for a foreign host": _POST.replace(b"localhost", b"evil.example")
    + b"Content-Length: 5\r\n"
    + _CHUNKED
    + b"\r\n0\r\n\r\n",
    "both, for a file": b"GET /static/css/site.css HTTP/1.1\r\n"
    + _HOST
    + b"Content-Length: 5\r\n"
    + _CHUNKED
    + b"\r\n0\r\n\r\n",
    "a body where none belongs": b"GET /healthz HTTP/1.1\r\n" + _HOST + b"Content-Length: 5\r\n\r\n12345",
    "chunks where none belong": b"GET /healthz HTTP/1.1\r\n" + _HOST + _CHUNKED + b"\r\n0\r\n\r\n",
    "two lengths": _POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
    "a list of lengths": _POST + b"Content-Length: 5, 6\r\n\r\n12345",
    "a length with a sign": _POST + b"Content-Length: +5\r\n\r\n12345",
    "a length in hexadecimal": _POST + b"Content-Length: 0x5\r\n\r\n12345",
    "an unknown coding": _POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": _POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked, not last": _POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a space before the colon": _POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded line": _POST + b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": _POST.replace(b"/1.1", b"/1.0") + _CHUNKED + b"\r\n0\r\n\r\n",
    "a chunk of no length": _POST + _CHUNKED + b"\r\n;\r\n\r\n",
    "a chunk of a negative length": _POST + _CHUNKED + b"\r\n-1\r\n\r\n",
    "a whole address": b"GET http://localhost/healthz HTTP/1.1\r\n" + _HOST + b"\r\n",
    "too many headers": b"GET /healthz HTTP/1.1\r\n" + _HOST + b"X: y\r\n" * 101 + b"\r\n",
}


@pytest.mark.parametrize("unclear", _UNCLEAR.values(), ids=_UNCLEAR)
@attack("smuggled-request", "hide a request behind one that a proxy would end elsewhere")
def test_smuggled_request(world: World, unclear: bytes) -> None:
    hidden = b"GET /api/lessons HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n"
    began = time.monotonic()
    answer = _raw(world, unclear + hidden, patience=20)
    assert within(5, began), "the connection stayed open"
    assert answer.count(b"HTTP/1.1 ") == 1, "the bytes behind it were taken for a request"
    assert b"hello-std" not in answer
    told = _raw(world, b"GET /healthz HTTP/1.1\r\n" + _HOST + b"\r\n" + hidden)
    assert told.count(b"HTTP/1.1 200") == 2, "two honest requests behind each other are both answered"
