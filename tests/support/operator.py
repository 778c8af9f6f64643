"""An operator's week on a real server: what learners were told is stored, what a fault lost of it, and what was said.

Each act ends with the server stopped. ``Week.lost`` compares the database with what learners were told.
"""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import httpx

from app.progress.schema import MIGRATIONS
from tests.support.clients import seat_of, seated
from tests.support.forked import run_forked
from tests.support.server import SERVE, serving

PLAYGROUND = str(Path(sys.executable).with_name("playground"))
LESSON = "hello-std"
ENDLESS = 'fn main() {\n    println!("turning");\n    loop {}\n}\n'
RESTARTED = "The playground was restarted. Run again."
_DUMPS = Path(__file__).resolve().parents[1] / "databases"


class Running(Protocol):
    """A server that runs."""

    @property
    def url(self) -> str: ...

    def send(self, how: signal.Signals) -> None:
        """Send the server a signal."""

    def wait(self) -> object:
        """Wait until the server has ended."""

    def stop(self, how: signal.Signals = signal.SIGTERM) -> object:
        """Send the signal and wait until the server has ended."""


class Host(Protocol):
    """Where the playground runs: on this machine, or in a container."""

    data: Path

    def serving(self) -> AbstractContextManager[Running]:
        """Run a server on the data."""

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the operator's."""

    def refusal(self) -> str:
        """Start a server that must refuse, and return its one sentence."""


class Desk:
    """The playground as a process of this machine, which starts quicker if it is ``forked``."""

    def __init__(self, folder: Path, *, forked: bool = False) -> None:
        self._forked = forked
        self.data = folder / "data"
        self._scratch = folder / "scratch"

    @contextmanager
    def serving(self) -> Iterator[Running]:
        with serving(self.data, None, SERVE, self._forked) as server:
            yield server

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        env = os.environ | {"PLAYGROUND_DATA_DIR": str(self.data), "PLAYGROUND_SCRATCH_DIR": str(self._scratch)}
        if self._forked:
            return run_forked(*words, env=env)
        return subprocess.run([PLAYGROUND, *words], env=env, capture_output=True, text=True, check=False, timeout=120)

    def refusal(self) -> str:
        done = self.command("serve", "--port", "0")
        assert done.returncode == 2, done
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr


class Week:
    """A data folder, and the texts of the seats that were told that they have reached the step."""

    def __init__(self, folder: Path, host: Host) -> None:
        self.host = host
        self.data = self.host.data
        self.archive = folder / "playground.tar"
        self.told: dict[str, str] = {}
        self.saved: Mapping[str, str] = {}
        """The texts of those that were told so before the backup, or before the upgrade."""

    def learn(self, server: Running, seats: int = 1) -> None:
        """Have new seats reach a step, and note each one that was told so."""
        for number in range(seats):
            text = f'// seat {number} of {time.time_ns()}\nfn main() {{\n    println!("Hello, world!");\n}}\n'
            with seated(server.url) as client:
                files = {"src/main.rs": text}
                body = {"lesson": LESSON, "command": "cargo build", "files": files}
                answer = client.post("/api/runs", json=body)
                if answer.status_code != 202:
                    raise RefusedRunError(answer.json()["error"]["message"])
                verdict = _events(client, answer.json()["events"])[-1]
                if verdict["reached"] and verdict.get("stored", True):
                    self.told[seat_of(client.cookies)] = text

    def lost(self) -> set[str]:
        """Return the seats whose step or text is not stored although they were told so."""
        with closing(sqlite3.connect(f"file:{self.data}/progress.sqlite3?mode=ro", uri=True)) as db:
            steps = {seat for (seat,) in db.execute("select seat from reached where lesson = ?", (LESSON,))}
            texts = dict(db.execute("select seat, text from files where path = 'src/main.rs'"))
        return {seat for seat, text in self.told.items() if seat not in steps or texts.get(seat) != text}

    def refusal(self) -> str:
        """Start a server that must refuse and change nothing; return the sentence that it says."""
        before = self.state()
        said = self.host.refusal()
        assert self.state() == before, "nothing was changed and nothing new begun"
        return said

    def state(self) -> dict[str, bytes]:
        """Return every file of the data folder."""
        # SQLite may leave an index and an empty log beside a database that is too damaged to be closed properly.
        files = (path for path in self.data.rglob("*") if path.is_file() and not path.name.endswith("-shm"))
        return {
            str(path): content for path in files if (content := path.read_bytes()) or not path.name.endswith("-wal")
        }

    # --- acts

    def opens(self, seats: int) -> None:
        """Start, let seats work, and back up while the last of them does."""
        with self.host.serving() as server:
            self.learn(server, seats)
            done = self.host.command("backup", str(self.archive))
            assert done.returncode == 0, done.stderr
            assert self.archive.stat().st_mode & 0o077 == 0, "the archive is for its owner only"
            self.saved = dict(self.told)
            self.learn(server)
            early = self.host.command("restore", str(self.archive))
            assert early.returncode == 1
            assert "Stop it, then restore. Nothing was changed." in early.stderr
            server.stop()

    def is_killed(self) -> None:
        """Kill the server with SIGKILL in the middle of a run, and ask the next one about that run."""
        self._interrupt(signal.SIGKILL, reads=False)

    def is_stopped(self) -> None:
        """Stop the server in the middle of a run; its stream says why it ended."""
        self._interrupt(signal.SIGTERM, reads=True)

    def _interrupt(self, how: signal.Signals, *, reads: bool) -> None:
        with self.host.serving() as server, seated(server.url) as client:
            cookies = client.cookies
            body = {"lesson": "no-std", "command": "cargo run", "files": {"src/main.rs": ENDLESS}}
            accepted = client.post("/api/runs", json=body).json()
            events = []
            with client.stream("GET", accepted["events"]) as answer:
                for line in answer.iter_lines():
                    if line.startswith("data:"):
                        events.append(json.loads(line[5:]))
                        if "turning" in events[-1].get("text", ""):
                            server.send(how)
                            if not reads:
                                break
            server.wait()
        if reads:
            end = next(event for event in events if event["type"] == "finished")
            assert (end["status"], end["reason"]) == ("cancelled", "restarted"), end
        with self.host.serving() as server, httpx.Client(base_url=server.url, cookies=cookies, timeout=30) as client:
            gone = client.get(f"/api/runs/{accepted['id']}")
            assert (gone.status_code, gone.json()["error"]["message"]) == (404, RESTARTED)
            assert "turning" in client.get("/lessons/no-std").text, "the text is in place"
            server.stop()

    def restores(self) -> str:
        """Restore the backup and start; return what the restore says."""
        done = self.host.command("restore", str(self.archive))
        assert done.returncode == 0, done.stderr
        self.told = dict(self.saved)
        self.goes_on()
        return done.stdout

    def goes_on(self) -> None:
        """Start on the data as they are, and let one more seat work."""
        with self.host.serving() as server:
            self.learn(server)
            server.stop()

    def damage(self, name: str, content: bytes | None = None) -> None:
        """Overwrite a file, or the later half of the database's pages."""
        path = self.data / name
        if content is None:
            whole = path.read_bytes()
            content = whole[: len(whole) // 2] + os.urandom(len(whole) - len(whole) // 2)
        path.write_bytes(content)

    def set_version(self, version: int) -> None:
        """Give the database another version's number."""
        with closing(sqlite3.connect(self.data / "progress.sqlite3", isolation_level=None)) as db:
            db.execute(f"pragma user_version = {version}")

    def ages(self, version: int) -> None:
        """Replace the database by one of an older version, with what its learners were told."""
        with closing(sqlite3.connect(self.data / "progress.sqlite3")) as db:
            rows = {
                table: [row for row in db.execute(f"select * from {table}") if row[0] in self.told]
                for table in ("files", "reached", "last_runs")
            }
        for path in self.data.glob("progress.sqlite3*"):
            path.unlink()
        with closing(sqlite3.connect(self.data / "progress.sqlite3")) as db:
            db.executescript((_DUMPS / f"version-{version}.sql").read_text(encoding="utf-8"))
            for table, found in rows.items():
                marks = ", ".join("?" * len(found[0]))
                db.executemany(f"insert into {table} values ({marks})", found)
            db.commit()

    def is_upgraded(self, version: int) -> Path:
        """Start on a database of an older version; return the copy that is kept of it."""
        self.ages(version)
        assert not self.lost()
        self.saved = dict(self.told)
        self.goes_on()
        with closing(sqlite3.connect(self.data / "progress.sqlite3")) as db:
            assert db.execute("pragma user_version").fetchone() == (len(MIGRATIONS),)
            assert db.execute("select count(*) from reached where seat = 'ada'").fetchone() != (0,)
        return self.data / f"progress.sqlite3.version-{version}"

    def is_rolled_back(self, copy: Path) -> str:
        """Restore the copy from before an upgrade, as for an older program; return what the restore says."""
        done = self.host.command("restore", str(copy))
        assert done.returncode == 0, done.stderr
        self.told = dict(self.saved)
        return done.stdout

    def is_set_back(self) -> None:
        """Let all stored dates lie in the future, as after the clock was set back, and go on."""
        later = (datetime.now(UTC) + timedelta(days=400)).isoformat()
        with closing(sqlite3.connect(self.data / "progress.sqlite3", isolation_level=None)) as db:
            for table in ("reached", "last_runs"):
                db.execute(f"update {table} set at = ?", (later,))
        with self.host.serving() as server:
            self.learn(server)
            done = self.host.command("seats", "purge", "--before", "1d")
            assert done.stdout == "Deleted 0 seats.\n", done
            server.stop()


class RefusedRunError(Exception):
    """A run was not accepted; the message is the server's sentence."""


def _events(client: httpx.Client, path: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in re.findall(r"^data: (.*)$", client.get(path).text, re.MULTILINE)]
