"""The environment of the attacks: a real server at one level, and the targets of an attacker around it.

Only the sandbox protects these targets: everybody may read the secret files, write to the folders and connect to the
sockets.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from app.settings import Settings
from app.toolchain import Toolchain
from tests.attacks.case import HELLO, MANIFEST, Case, Story
from tests.attacks.watch import Watch, children, command_line
from tests.support.environment import BARE_METAL, SLOWER_BY, seconds_since
from tests.support.files import below
from tests.support.polling import eventually
from tests.support.ports import free_port
from tests.support.server import SERVE, Server, a_normal_user, serving

TIGHT = {
    "PLAYGROUND_RUN_SECONDS": str(6 * SLOWER_BY),
    "PLAYGROUND_CPU_SECONDS": str(3 * SLOWER_BY),
    "PLAYGROUND_MEMORY_BYTES": str(512 << 20),
    "PLAYGROUND_PROCESSES": "64",
    "PLAYGROUND_FILE_SIZE_BYTES": str(16 << 20),
    "PLAYGROUND_WORKSPACE_BYTES": str(64 << 20),
    "PLAYGROUND_WORKSPACE_FILES": "1500",
    "PLAYGROUND_OUTPUT_BYTES": str(256 << 10),
    "PLAYGROUND_MAX_RUNS": "3",
    "PLAYGROUND_ARTIFACT_READERS": "2",
}
UNLIMITED = {
    "PLAYGROUND_CPU_SECONDS": "1000",
    "PLAYGROUND_MEMORY_BYTES": str(64 << 30),
    "PLAYGROUND_PROCESSES": "100000",
    "PLAYGROUND_FILE_SIZE_BYTES": str(64 << 30),
    "PLAYGROUND_WORKSPACE_BYTES": str(64 << 30),
    "PLAYGROUND_WORKSPACE_FILES": "10000000",
}
"""Limits for the level ``none``, so high that they stop no attack."""
USUAL = {
    "PLAYGROUND_MAX_RUNS": "6",
    "PLAYGROUND_RUN_SECONDS": "3600",  # the neighbour's run goes on as long as the world, for minutes
    "PLAYGROUND_ARTIFACT_READERS": "2",
}
_PATIENCE = 25.0 * SLOWER_BY
_SECRETS = (
    "environment argument memory file home module library vendor workspace include neighbour seat other wire device"
)
_VICTIM = """import ctypes, os, signal, sys, time
text = ctypes.create_string_buffer(os.environ["MEMORY"].encode() + bytes(64))
def told(number, frame):
    with open(sys.argv[1], "a") as file:
        file.write(f"signal {number}\\n")
for number in (10, 12, 18, 23, 28, 29):
    signal.signal(number, told)
print(ctypes.addressof(text), flush=True)
while os.getppid() == int(sys.argv[2]):
    time.sleep(0.2)
"""
_NEIGHBOUR = """
use std::{process::Command, thread, time::Duration, fs, env};
const HELD: &str = "@SECRET@";
fn main() {
    if env::args().count() > 1 { loop { thread::sleep(Duration::from_secs(1)); } }
    fs::write("kept", HELD).unwrap();
    Command::new(env::current_exe().unwrap()).arg("@MARK@").env("HELD", HELD).spawn().unwrap();
    println!("turning");
    loop { thread::sleep(Duration::from_secs(1)); }
}
"""


class Listener:
    """Sockets of the host that accept anyone, and the data they received."""

    def __init__(self, folder: Path, token: str) -> None:
        self._heard: list[str] = []
        self.abstract = f"attacks-{token}"
        self.path = folder / "socket"
        self._stopped = threading.Event()
        self._sockets = [
            self._open(socket.AF_INET, ("127.0.0.1", free_port())),
            self._open(socket.AF_UNIX, str(self.path)),
        ]
        self.port: int = self._sockets[0].getsockname()[1]
        self.path.chmod(0o777)
        self._sockets.append(self._open(socket.AF_UNIX, "\0" + self.abstract))
        with contextlib.suppress(OSError):
            self._sockets.append(self._open(socket.AF_INET6, ("::1", self.port)))
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind(("127.0.0.1", self.port))
        self.letters = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.letter_box = folder / "letters"
        self.letters.bind(str(self.letter_box))
        self.letter_box.chmod(0o777)
        self._threads = [threading.Thread(target=self._accept, args=(one,)) for one in self._sockets]
        self._threads += [threading.Thread(target=self._receive, args=(one,)) for one in (self.datagrams, self.letters)]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _open(family: socket.AddressFamily, address: Any) -> socket.socket:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.bind(address)
        listener.listen()
        listener.settimeout(0.2)
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(TimeoutError, ConnectionError):
                caller, _ = listener.accept()
                with caller:
                    caller.settimeout(2)
                    self._heard.append("connected")
                    self._heard.append(caller.recv(4096).decode("latin-1"))

    def _receive(self, datagrams: socket.socket) -> None:
        datagrams.settimeout(0.2)
        while not self._stopped.is_set():
            with contextlib.suppress(TimeoutError):
                self._heard.append(datagrams.recv(4096).decode("latin-1"))

    @property
    def heard(self) -> str:
        """Everything that any of the sockets received."""
        return "\n".join(self._heard)

    def tell(self, text: str) -> None:
        """Send a datagram to one of these sockets, for an attacker that captures traffic."""
        self.datagrams.sendto(text.encode(), ("127.0.0.1", self.port))

    def stop(self) -> None:
        """Close every socket."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        for one in [*self._sockets, self.datagrams, self.letters]:
            one.close()


class World:
    """A server with targets around it and runs in it, as a context manager."""

    def __init__(self, level: str, toolchain: Toolchain, settings: Settings, where: str = "usual") -> None:
        self.level = level
        self.tight = where == "tight"
        self.user = a_normal_user() if where == "normal" else None
        self.toolchain = toolchain
        self.rustc = toolchain.rustc
        self.settings = settings
        self.token = secrets.token_hex(6)
        self.secrets = {name: f"hush-{secrets.token_hex(12)}" for name in _SECRETS.split()}
        self.notes: dict[str, str] = {}
        self.bystanders: list[tuple[float, float, str]] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix="attacks-"))
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.folder.chmod(0o755)
            self.outside = self.folder / "outside"
            self._furnish()
            self.home_file = Path.home() / f".playground-attack-{self.token}"
            self.home_file.write_text(self.secrets["home"])
            self.home_file.chmod(0o644)
            stack.callback(self.home_file.unlink, missing_ok=True)
            self.victim = self._victim()
            stack.callback(self._end, self.victim)
            self.listener = Listener(self.folder, self.token)
            stack.callback(self.listener.stop)
            variables = {"PLAYGROUND_ISOLATION": self.level, "ATTACKED": self.secrets["environment"]}
            variables |= TIGHT if self.tight else USUAL
            variables |= UNLIMITED if self.level == "none" else {}
            if self.user is not None:
                variables |= self._home()
            self.server: Server = stack.enter_context(
                serving(self.folder / "data", self.user, SERVE, False, **variables)
            )
            self.names = self._names()
            self.watch = stack.enter_context(Watch(self.server.process.pid, self.scratch))
            stack.enter_context(self._bystander() if self.tight else self._neighbours())
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def scratch(self) -> Path:
        """The folder of the server's runs."""
        return self.folder / "scratch"

    @property
    def data(self) -> Path:
        """The server's data folder."""
        return self.folder / "data"

    def filled(self, text: str, case: Case | None = None) -> str:
        """Replace the placeholders in a text by the world's names."""
        names = self.names | ({"MARK": self.mark(case)} if case else {})
        return re.sub(r"@([A-Z_]+)@", lambda found: names[found[1]], text)

    def mark(self, case: Case) -> str:
        """The marker in the names of the case's processes and files."""
        return f"mark-{case.id}-{self.token}"

    def marked(self, mark: str) -> list[int]:
        """Return the machine's processes whose arguments contain the mark."""
        return [pid for pid in children(None) if mark in command_line(pid) and pid != os.getpid()]

    def client(self) -> httpx.Client:
        """Return a client of the server."""
        return httpx.Client(base_url=self.server.url, timeout=_PATIENCE + 10)

    def attack(self, case: Case) -> Story:
        """Run the case and return its story."""
        if case.first:
            self.post(self.filled(case.first[0], case), command=case.first[1])
        began = time.monotonic()
        # Only the attacks on the tight world are judged by what they use at most.
        with self.watch.peaks() if self.tight else contextlib.nullcontext(dict[str, float]()) as peaks:
            run_id, events = self._follow(case)
        seconds, ended = seconds_since(began, 8), time.monotonic()
        bystanders = [status for start, end, status in self.bystanders if start < ended and end > began]
        return Story(run_id, tuple(events), seconds, dict(peaks), tuple(bystanders))

    def post(self, main: str = HELLO, command: str = "cargo run", **more: Any) -> list[dict[str, Any]]:
        """Run this source and return the events."""
        return list(self.events({"src/main.rs": main, "Cargo.toml": MANIFEST}, command, **more))

    def events(
        self, files: dict[str, str], command: str, ids: list[str] | None = None, **more: Any
    ) -> Iterator[dict[str, Any]]:
        """Yield the events of a run and append its id to ``ids``. A run that takes too long is cancelled."""
        lesson = "cargo-config" if ".cargo/config.toml" in files else "hello-std"
        with self.client() as client:
            body = {"lesson": lesson, "command": command, "files": files} | more
            answer = client.post("/api/runs", json=body)
            assert answer.status_code == 202, answer.text
            accepted = answer.json()
            if ids is not None:
                ids.append(accepted["id"])
            clock = threading.Timer(_PATIENCE, lambda: httpx.delete(f"{self.server.url}/api/runs/{accepted['id']}"))
            clock.start()
            try:
                with client.stream("GET", accepted["events"]) as stream:
                    for line in lines(stream):
                        if line.startswith(b"data: "):
                            yield json.loads(line.removeprefix(b"data: "))
            finally:
                clock.cancel()

    def _follow(self, case: Case) -> tuple[str, list[dict[str, Any]]]:
        files = {"src/main.rs": case.main, "Cargo.toml": case.manifest}
        files |= {".cargo/config.toml": case.config} if case.config is not None else {}
        seen: list[dict[str, Any]] = []
        ids: list[str] = []
        files = {path: self.filled(text, case) for path, text in files.items()}
        acted = False
        for event in self.events(files, self.filled(case.command), ids):
            seen.append(event)
            if case.during and not acted and "begun" in event.get("text", ""):
                acted = True
                case.during(self)
        return ids[0], seen

    def honest(self) -> list[dict[str, Any]]:
        """Run an honest program and return the events."""
        return self.post(f'fn main() {{ println!("honest {secrets.token_hex(4)}"); }}')

    def _furnish(self) -> None:
        """Create files outside every run that everybody may read."""
        files = {
            "secret": self.secrets["file"],
            "words": f"{self.secrets['file']}\n",
            "module.rs": f'pub const HELD: &str = "{self.secrets["module"]}";\n',
            "stolen/Cargo.toml": '[package]\nname = "stolen"\nversion = "1.0.0"\nedition = "2021"\n',
            "stolen/src/lib.rs": f'pub const HELD: &str = "{self.secrets["library"]}";\n',
            "vendor/stolen/Cargo.toml": '[package]\nname = "stolen"\nversion = "1.0.0"\nedition = "2021"\n',
            "vendor/stolen/.cargo-checksum.json": '{"files":{},"package":null}',
            "vendor/stolen/src/lib.rs": f'pub const HELD: &str = "{self.secrets["vendor"]}";\n',
            "above/Cargo.toml": f"{self.secrets['workspace']}\n",
            "include.toml": f'[env]\nHELD = "{self.secrets["include"]}"\n',
            "fake-rustc": f'#!/bin/sh\necho ran >>{self.outside}/ran-"$MARK"\nexec "$@"\n',
            "kept": "as it was",
            "crate/target/debug/blog_os": self.secrets["file"],
            "sleeper": "#!/bin/sh\nsleep 1\n",
        }
        for path, text in files.items():
            file = self.outside / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755 if path in ("fake-rustc", "sleeper") else 0o666)
        (self.outside / "link").mkdir()
        for folder in (self.outside, *(path for path in self.outside.rglob("*") if path.is_dir())):
            folder.chmod(0o777)
        repository = self.outside / "repository"
        if shutil.which("git"):
            shutil.copytree(self.outside / "stolen", repository)
            identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
            for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "a"]):
                subprocess.run(["git", *words], cwd=repository, check=True)

    def _victim(self) -> subprocess.Popen[str]:
        """Run an unrelated process of the server's user."""
        words = [sys.executable, "-c", _VICTIM, str(self.folder / "signals"), str(os.getpid())]
        env = {"MEMORY": self.secrets["memory"], "ENVIRONMENT": self.secrets["environment"]}
        words.append(self.secrets["argument"])
        if self.user is not None:
            # That user may not read this Python; another Python would bring different libraries.
            words[0] = "/usr/bin/python3"
        return subprocess.Popen(
            words, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True, user=self.user, group=self.user
        )

    def _home(self) -> dict[str, str]:
        """Create a home and a cache for the server's user, with its own compilers."""
        assert self.user is not None
        home, cache = self.folder / "home", self.folder / "cache"
        home.mkdir()
        for name in ("sysroots", "launcher", "standin"):
            if (self.settings.cache_dir / name).is_dir():
                shutil.copytree(self.settings.cache_dir / name, cache / name, symlinks=True, ignore=_other_targets)
        for place in (self.folder, *self.folder.rglob("*")):
            os.chown(place, self.user, self.user, follow_symlinks=False)
        self.rustc = next(iter(cache.glob("sysroots/*/bin/rustc")), self.toolchain.rustc)
        return {"HOME": str(home), "PLAYGROUND_CACHE_DIR": str(cache)}

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

    def _names(self) -> dict[str, str]:
        assert self.victim.stdout is not None
        # The server opens its port before it makes its folders.
        [artifacts] = eventually(lambda: [*self.scratch.glob("server-*/artifacts")])
        device = os.stat(self.scratch).st_dev
        return {
            "OUT": str(self.outside),
            "FOLDER": str(self.folder),
            "SCRATCH": str(self.scratch),
            "DATA": str(self.data),
            "HOME_FILE": str(self.home_file),
            "SERVER": str(self.server.process.pid),
            "VICTIM": str(self.victim.pid),
            "ADDRESS": self.victim.stdout.readline().strip(),
            "PORT": str(self.listener.port),
            "SOCKET": str(self.listener.path),
            "LETTERS": str(self.listener.letter_box),
            "ABSTRACT": self.listener.abstract,
            "TOKEN": self.token,
            "OTHER": self.secrets["other"],
            "KEY": str(int(self.token[:7], 16)),
            "SYSROOT": str(self.toolchain.sysroot),
            "RUSTC": str(self.rustc),
            "COLD": str(self._unused_library()),
            "CACHE": str(self.settings.cache_dir),
            "LESSONS": str(self.settings.lessons_dir),
            "PROGRAM": str(Path(__file__).parents[2] / "app"),
            "SYMBOL": re.sub(r"[^A-Za-z0-9]", "_", str(self.outside / "secret")),
            "HANDLE": handle_of(self.outside / "secret"),
            "MAJOR": str(os.major(device)),
            "MINOR": str(os.minor(device)),
            "ARTIFACTS": str(artifacts),
            "NEIGHBOUR": "/nowhere",
            "NEIGHBOUR_PID": "0",
        }

    def _unused_library(self) -> Path:
        """Return the largest library that runs may read and that no program here uses."""
        found = Path("/usr/lib").glob("*/*.so*") if self.user is not None else self.toolchain.sysroot.rglob("*.rlib")
        mapped = {line.rpartition(" ")[2] for maps in Path("/proc").glob("[0-9]*/maps") for line in _lines(maps)}
        return max((path for path in found if str(path.resolve()) not in mapped), key=lambda path: path.stat().st_size)

    @contextlib.contextmanager
    def _neighbours(self) -> Iterator[None]:
        """Keep another seat's run going, store a text for a seat, and send packets."""
        stop = threading.Event()
        with self.client() as client:
            client.get("/")
            text = f"// {self.secrets['seat']}\n{HELLO}"
            body = {"lesson": "hello-std", "command": "rustc --version", "files": {"src/main.rs": text}}
            assert client.post("/api/runs", json=body).status_code == 202
            self.cookies = dict(client.cookies)
        source = _NEIGHBOUR.replace("@SECRET@", self.secrets["neighbour"])
        source = source.replace("@MARK@", f"neighbour-{self.token}")
        ready = threading.Event()

        def follow() -> None:
            with self.client() as client:
                body = {"lesson": "hello-std", "command": "cargo run", "files": {"src/main.rs": source}}
                accepted = client.post("/api/runs", json=body).json()
                self.neighbour_run = accepted["id"]
                with client.stream("GET", accepted["events"], timeout=None) as stream:
                    for line in stream.iter_lines():
                        if "turning" in line:
                            ready.set()

        def speak() -> None:
            while not stop.wait(0.1):
                self.listener.tell(self.secrets["wire"])

        threads = [threading.Thread(target=follow), threading.Thread(target=speak)]
        for thread in threads:
            thread.start()
        try:
            assert ready.wait(30 * SLOWER_BY), "the neighbour's run did not begin"
            time.sleep(0.3)
            found = [path for path in below(self.scratch) if path.name == "kept" and self._neighbours_own(path)]
            self.names["NEIGHBOUR"] = str(found[0].parent) if found else "/nowhere"
            self.names["NEIGHBOUR_PID"] = str(self.neighbour())
            yield
        finally:
            stop.set()
            with contextlib.suppress(httpx.HTTPError):
                httpx.delete(f"{self.server.url}/api/runs/{self.neighbour_run}")
            for thread in threads:
                thread.join(30)

    def _neighbours_own(self, kept: Path) -> bool:
        with contextlib.suppress(OSError):
            return self.secrets["neighbour"] in kept.read_text(errors="replace")
        return False

    @contextlib.contextmanager
    def _bystander(self) -> Iterator[None]:
        """Run an honest program repeatedly while the attacks run."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(0.2):
                began = time.monotonic()
                try:
                    status = next(e["status"] for e in self.honest() if e["type"] == "finished")
                except (httpx.HTTPError, AssertionError, StopIteration) as error:
                    status = repr(error)
                ended = time.monotonic()
                self.bystanders.append((began, ended, f"{status} in {ended - began:.0f} s"))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def neighbour(self) -> int:
        """Return the process id of the other seat's run, 0 if it has ended."""
        found = self.marked(f"neighbour-{self.token}")
        return found[0] if found else 0


def _other_targets(folder: str, names: list[str]) -> list[str]:
    """Return the names to leave out of a copy of the cache, which needs only one built target."""
    targets = [name for name in names if name.count("-") >= 2 and folder.endswith("/rustlib")]
    return [name for name in targets if name not in (BARE_METAL, f"{platform.machine()}-unknown-linux-gnu")]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def lines(stream: httpx.Response) -> Iterator[bytes]:
    """Yield the lines of a stream, split at line feeds only as a browser does, unlike httpx."""
    rest = b""
    for data in stream.iter_bytes():
        *whole, rest = (rest + data).split(b"\n")
        yield from whole


def digest(path: Path) -> str:
    """Return the digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def handle_of(path: Path) -> str:
    """Return the kernel's handle of a file as a Rust list of bytes, empty if there is none."""

    class Handle(ctypes.Structure):
        _fields_ = (("size", ctypes.c_uint), ("kind", ctypes.c_int), ("data", ctypes.c_ubyte * 128))

    if not sys.platform.startswith("linux"):
        return ""
    handle, mount = Handle(size=128), ctypes.c_int()
    libc = ctypes.CDLL(None)
    if libc.name_to_handle_at(-100, os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount), 0):
        return ""
    return ",".join(str(byte) for byte in bytes(handle)[: 8 + handle.size])
