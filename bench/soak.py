"""Send honest and hostile runs from 16 clients, then count what they left behind: ``python -m bench.soak [SECONDS]``.

A real server gets them over HTTP. Processes, mounts, open files, temporary files, shared memory and the server's memory
are measured twice: after a warm-up, in which all clients do everything once, and at the end, when no run is left. The
exit code is 1 if something was left behind, the memory grew by more than a fifth, an honest run failed, or the server
logged an error.
"""

import http.client
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.common import require_compilers

CLIENTS = 16
SECONDS = 600
_MOST_GROWTH = 1.2
_SETTLED = 5.0
"""The seconds until a server has started all its lasting processes."""
_TOLD = 30.0
"""The seconds between two progress lines."""

_SETTINGS = {
    "PLAYGROUND_RUN_SECONDS": "15",
    "PLAYGROUND_CPU_SECONDS": "8",
    "PLAYGROUND_MEMORY_BYTES": str(512 << 20),
    "PLAYGROUND_WORKSPACE_BYTES": str(64 << 20),
    "PLAYGROUND_FILE_SIZE_BYTES": str(32 << 20),
    # Artifacts and logs of ended runs, and sandboxes made ahead, are expected, but would be counted as leftovers.
    "PLAYGROUND_READY_SECONDS": "2",
    "PLAYGROUND_RUN_TTL": "2",
}
_MANIFEST = '[package]\nname = "soak"\nversion = "0.1.0"\nedition = "2021"\n'
_C = 'extern "C" { fn fork() -> i32; fn setsid() -> i32; fn signal(n: i32, to: usize) -> usize; }\n'
_NAP = "fn nap() { std::thread::sleep(std::time::Duration::from_secs(60)); }\n"


@dataclass(frozen=True)
class ClientKind:
    """A kind of run that clients post. ``status`` is the status with which an honest one must end."""

    name: str
    command: str = "cargo run"
    main: str | None = None
    lesson: str = "hello-std"
    status: str | None = None
    manifest: str = _MANIFEST
    leaves: str = "no"
    """The client's action during the run: none, disconnect (``drop``) or cancel (``cancel``)."""


HONEST = (
    ClientKind("build", "cargo build", status="ok"),
    ClientKind("run", main='fn main() { println!("honest"); }', status="ok"),
    ClientKind("goal is an error", "cargo build", main="#![no_std]\nfn main() {}", status="failed"),
    ClientKind("look", "rustc --version --verbose", status="ok"),
    ClientKind("new", "cargo new soak --bin --edition 2018", status="ok"),
    ClientKind("read only a little", "cargo build", leaves="drop"),
    ClientKind("cancel", main=_NAP + "fn main() { nap() }", leaves="cancel"),
)
HOSTILE = (
    ClientKind("flood", main='fn main() { loop { println!("{}", "x".repeat(999)); } }'),
    ClientKind(
        "fork bomb", main=_C + _NAP + "fn main() { for _ in 0..1000 { unsafe { if fork() == 0 { nap(); } } } nap() }"
    ),
    ClientKind(
        "daemon", main=_C + _NAP + "fn main() { unsafe { if fork() == 0 { setsid(); if fork() == 0 { nap(); } } } }"
    ),
    ClientKind("deaf", main=_C + "fn main() { for n in 1..65 { unsafe { signal(n, 1); } } loop {} }"),
    ClientKind("memory", main="fn main() { let mut a = vec![]; for _ in 0..64 { a.push(vec![1u8; 32 << 20]); } }"),
    ClientKind(
        "disk",
        main='fn main() { for n in 0..64 { std::fs::write(format!("f{n}"), vec![1u8; 8 << 20]).ok(); }'
        ' for n in 0..20000 { std::fs::write(format!("g{n}"), "").ok(); } }',
    ),
    ClientKind(
        "folder as artifact",
        main='fn main() { let e = "target/debug/soak"; std::fs::remove_file(e).unwrap();'
        ' std::fs::create_dir_all(format!("{e}/a/b")).unwrap(); }',
    ),
    ClientKind(
        "deep folders",
        main='fn main() { for _ in 0..400 { let d = "d".repeat(200); if std::fs::create_dir(&d).is_err() { break; }'
        " if std::env::set_current_dir(&d).is_err() { break; } } }",
    ),
    ClientKind(
        "compile for ever",
        "cargo build",
        main="#![allow(long_running_const_eval)]\nconst A: () = loop {};\nfn main() { A }",
    ),
    ClientKind(
        "build script",
        "cargo build",
        main='fn main() { std::process::Command::new("sleep").arg("60").spawn().ok(); println!("cargo:warning=x"); }',
        manifest=_MANIFEST.replace("edition", 'build = "src/main.rs"\nedition'),
    ),
    ClientKind("no crate at all", "cargo build", manifest="[package\n"),
)


@dataclass
class Tally:
    """Counts of the clients' runs and their results."""

    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def note(self, kind: ClientKind, how: str, took: float) -> None:
        """Count a run that ended like this."""
        self.ended[kind.name, how] += 1
        if kind.status:
            self.seconds.append(took)
            if how != kind.status:
                self.wrong.append(f"{kind.name} ended as {how}")


class Client:
    """A client that posts one run after the other."""

    def __init__(self, address: str, tally: Tally, number: int) -> None:
        self._address = address
        self._tally = tally
        self._random = random.Random(number)  # noqa: S311 - a seed makes the load repeatable

    def each(self) -> None:
        """Run every kind once, in the same order as every client."""
        for kind in (*HONEST, *HOSTILE):
            self._do(kind)

    def work(self, until: float) -> None:
        """Run kinds in random order until the deadline."""
        while time.monotonic() < until:
            self._do(self._random.choice(HONEST if self._random.random() < 0.6 else HOSTILE))

    def _do(self, kind: ClientKind) -> None:
        began = time.monotonic()
        try:
            how = self._run(kind)
        except (OSError, http.client.HTTPException) as error:
            self._tally.wrong.append(f"{kind.name}: {error!r}")
            time.sleep(1)
        else:
            self._tally.note(kind, how, time.monotonic() - began)

    def _run(self, kind: ClientKind) -> str:
        files = {"Cargo.toml": kind.manifest} if kind.lesson == "hello-std" else {}
        files |= {"src/main.rs": kind.main} if kind.main else {}
        body = {"lesson": kind.lesson, "command": kind.command, "files": files}
        server = http.client.HTTPConnection(self._address, timeout=300)
        try:
            server.request("POST", "/api/runs", json.dumps(body), {"content-type": "application/json"})
            answer = server.getresponse()
            accepted = json.load(answer)
            if answer.status != http.HTTPStatus.ACCEPTED:
                return f"refused: {accepted['error']['code']}"
            server.request("GET", accepted["events"])
            for event in _events(server.getresponse()):
                if event["type"] == "started" and kind.leaves == "cancel":
                    self._cancel(accepted["id"])
                if event["type"] == "started" and kind.leaves == "drop":
                    return "left"
                if event["type"] == "finished":
                    return str(event["limit"] or event["status"])
            return "cut off"
        finally:
            server.close()

    def _cancel(self, run: str) -> None:
        other = http.client.HTTPConnection(self._address, timeout=60)
        other.request("DELETE", f"/api/runs/{run}")
        other.getresponse().read()
        other.close()


def _events(stream: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    for line in stream:
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


class Server:
    """The server under test, measured from outside."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, address: str) -> None:
        self.process = process
        self.address = address
        self._folder = folder
        time.sleep(_SETTLED)
        self._resting = self._runs()
        """The folders of the inspector's workers, which stay."""

    def left(self) -> dict[str, int]:
        """Count the resources in use."""
        pid = self.process.pid
        return {
            "processes": len(self._processes()),
            "mounts": len(Path("/proc/mounts").read_text().splitlines()),
            "open files of the server": len(os.listdir(f"/proc/{pid}/fd")),
            # os.walk skips files deleted meanwhile, where Path.rglob raises.
            "files of runs": sum(len(files) for _, _, files in os.walk(self._folder / "scratch")),
            "folders of runs": sum(len(folders) for _, folders, _ in os.walk(self._folder / "scratch")),
            "temporary files": sum(len(folders + files) for _, folders, files in os.walk(self._folder / "tmp")),
            "shared memory": len(os.listdir("/dev/shm")) + len(Path("/proc/sysvipc/shm").read_text().splitlines()),  # noqa: S108 - counted, not written
        }

    def resident(self) -> int:
        """The server's memory in KiB."""
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found
        return int(found[1])

    def rest(self) -> None:
        """Wait until no run is left and ended runs have expired."""
        for _ in range(600):
            if self._runs() <= self._resting:
                break
            time.sleep(0.2)
        time.sleep(float(_SETTINGS["PLAYGROUND_RUN_TTL"]) + 3)

    def _processes(self) -> list[int]:
        """Return every process that the server has started, also detached ones in the folder of runs."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError, IndexError):
                parent = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
                inside = str(self._folder) in os.readlink(f"/proc/{name}/cwd") or self._launched(name)
                if parent == self.process.pid or (inside and int(name) != self.process.pid):
                    found.append(int(name))
        return found

    def _runs(self) -> int:
        return sum(1 for _ in (self._folder / "scratch").glob("server-*/[0-9]*"))

    def _launched(self, pid: str) -> bool:
        return str(self._folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()


@contextmanager
def serving() -> Iterator[tuple[Server, Path]]:
    """Run a real server with separate folders; yield it and the file of its log."""
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the users of runs must be able to enter
        (folder / "tmp").mkdir()
        folders = {
            "PLAYGROUND_DATA_DIR": f"{name}/data",
            "PLAYGROUND_SCRATCH_DIR": f"{name}/scratch",
            "TMPDIR": f"{name}/tmp",  # noqa: S108 - below the own folder
        }
        command = [str(Path(sys.executable).with_name("playground")), "serve", "--port", "0"]
        log = folder / "log"
        with (
            log.open("w") as complaints,
            subprocess.Popen(
                command, env=os.environ | _SETTINGS | folders, stdout=subprocess.PIPE, stderr=complaints, text=True
            ) as process,
        ):
            assert process.stdout is not None
            found = re.search(r"http://([^\s/]+)", process.stdout.readline())
            if not found:
                sys.exit(f"The server did not start:\n{log.read_text()}")
            try:
                yield Server(process, folder, found[1]), log
            finally:
                process.terminate()
                process.wait(20)


def together(server: Server, tally: Tally, do: Callable[[Client], None]) -> None:
    """Have all clients do this, then wait until the server is idle."""
    clients = [Client(server.address, tally, number) for number in range(CLIENTS)]
    threads = [threading.Thread(target=do, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    for thread in threads:
        thread.join(_TOLD)
        while thread.is_alive():
            tell(f"{time.monotonic() - began:4.0f} s, {sum(tally.ended.values())} runs, {server.resident()} KiB")
            thread.join(_TOLD)
    tell("the last runs end")
    server.rest()


def tell(what: str) -> None:
    """Print progress at once, on standard error."""
    print(what, file=sys.stderr, flush=True)


def report(tally: Tally, before: dict[str, int], after: dict[str, int], memory: tuple[int, int], log: str) -> bool:
    """Print the result; return True if nothing was left and nothing failed."""
    for (name, how), count in sorted(tally.ended.items()):
        print(f"{count:6}  {name}: {how}")
    if tally.seconds:
        slow = sorted(tally.seconds)[int(0.95 * len(tally.seconds))]
        median = statistics.median(tally.seconds)
        print(f"honest runs, with the queue: median {median:.2f} s, 95th percentile {slow:.2f} s")
    for name, count in before.items():
        print(f"{name:26}{count:6} -> {after[name]:6}{'' if after[name] <= count else '   LEFT'}")
    grown = memory[1] / memory[0]
    print(f"{'memory of the server':26}{memory[0]:6} -> {memory[1]:6} KiB, {grown:.2f}")
    for line in [*dict.fromkeys(tally.wrong), log.strip()[-2000:]]:
        print(f"WRONG: {line}" if line else "", end="\n" if line else "")
    return (
        all(after[name] <= before[name] for name in before)
        and grown <= _MOST_GROWTH
        and not tally.wrong
        and not log.strip()
    )


def main() -> int:
    """Run the soak test and print its result."""
    require_compilers()
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    with serving() as (server, log):
        # All clients together cause the peak of memory here, so later growth is a leak.
        tell(f"warm-up: {CLIENTS} clients do each of {len(HONEST + HOSTILE)} things once")
        together(server, Tally(), Client.each)
        before, memory = server.left(), server.resident()
        tell(f"{seconds:.0f} s of this and that")
        tally = Tally()
        until = time.monotonic() + seconds
        together(server, tally, lambda client: client.work(until))
        runs = sum(tally.ended.values())
        print(f"{seconds:.0f} s, {CLIENTS} clients, {runs} runs after a warm-up")
        good = report(tally, before, server.left(), (memory, server.resident()), log.read_text())
    print("nothing is left" if good else "not as it should be")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
