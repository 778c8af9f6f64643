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
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from app.progress.schema import MIGRATIONS
from tests.support.clients import seat_of, seated
from tests.support.server import Server, serving

PLAYGROUND = str(Path(sys.executable).with_name("playground"))
LESSON = "hello-std"
ENDLESS = 'fn main() {\n    println!("turning");\n    loop {}\n}\n'
RESTARTED = "The playground was restarted. Run again."
_DUMPS = Path(__file__).resolve().parents[1] / "databases"


class Week:
    """A data folder, and the texts of the seats that were told that they have reached the step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.archive = folder / "playground.tar"
        self.told: dict[str, str] = {}
        self.saved: dict[str, str] = {}
        """The texts of those that were told so before the backup."""

    @contextmanager
    def serving(self) -> Iterator[Server]:
        """Run a server on the data."""
        with serving(self.data) as server:
            yield server

    def learn(self, server: Server, seats: int = 1) -> None:
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

    def lost(self, told: dict[str, str] | None = None) -> set[str]:
        """Return the seats whose step or text is not stored although they were told so."""
        with closing(sqlite3.connect(f"file:{self.data}/progress.sqlite3?mode=ro", uri=True)) as db:
            steps = {seat for (seat,) in db.execute("select seat from reached where lesson = ?", (LESSON,))}
            texts = dict(db.execute("select seat, text from files where path = 'src/main.rs'"))
        return {seat for seat, text in (told or self.told).items() if seat not in steps or texts.get(seat) != text}

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the operator's."""
        env = os.environ | {
            "PLAYGROUND_DATA_DIR": str(self.data),
            "PLAYGROUND_SCRATCH_DIR": str(self.folder / "scratch"),
        }
        return subprocess.run([PLAYGROUND, *words], env=env, capture_output=True, text=True, check=False, timeout=120)

    def refusal(self) -> str:
        """Start a server that must refuse, and return the sentence that it says."""
        before = self.state()
        done = self.command("serve", "--port", "0")
        assert done.returncode == 2, done
        assert done.stderr.count("\n") == 1, done.stderr
        assert self.state() == before, "nothing was changed and nothing new begun"
        return done.stderr

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
        with self.serving() as server:
            self.learn(server, seats)
            done = self.command("backup", str(self.archive))
            assert done.returncode == 0, done.stderr
            self.saved = dict(self.told)
            self.learn(server)
            early = self.command("restore", str(self.archive))
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
        with self.serving() as server, seated(server.url) as client:
            cookies = client.cookies
            body = {"lesson": "no-std", "command": "cargo run", "files": {"src/main.rs": ENDLESS}}
            accepted = client.post("/api/runs", json=body).json()
            events = []
            with client.stream("GET", accepted["events"]) as answer:
                for line in answer.iter_lines():
                    if line.startswith("data:"):
                        events.append(json.loads(line[5:]))
                        if "turning" in events[-1].get("text", ""):
                            server.process.send_signal(how)
                            if not reads:
                                break
            server.process.wait(timeout=10)
        if reads:
            end = next(event for event in events if event["type"] == "finished")
            assert (end["status"], end["reason"]) == ("cancelled", "restarted"), end
        with self.serving() as server, httpx.Client(base_url=server.url, cookies=cookies, timeout=30) as client:
            gone = client.get(f"/api/runs/{accepted['id']}")
            assert (gone.status_code, gone.json()["error"]["message"]) == (404, RESTARTED)
            assert "turning" in client.get("/lessons/no-std").text, "the text is in place"
            server.stop()

    def restores(self) -> str:
        """Restore the backup and start; return what the restore says."""
        done = self.command("restore", str(self.archive))
        assert done.returncode == 0, done.stderr
        with self.serving() as server:
            self.told = dict(self.saved)
            self.learn(server)
            server.stop()
        return done.stdout

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

    def is_upgraded(self) -> Path:
        """Start on a database of version 1; return the copy that is kept of it."""
        for path in self.data.iterdir():
            if path.name.startswith("progress.sqlite3"):
                path.unlink()
        with closing(sqlite3.connect(self.data / "progress.sqlite3")) as db:
            db.executescript((_DUMPS / "version-1.sql").read_text(encoding="utf-8"))
        self.told = {}
        with self.serving() as server:
            self.learn(server)
            server.stop()
        with closing(sqlite3.connect(self.data / "progress.sqlite3")) as db:
            assert db.execute("pragma user_version").fetchone() == (len(MIGRATIONS),)
            assert db.execute("select count(*) from reached where seat = 'ada'").fetchone() != (0,)
        return self.data / "progress.sqlite3.version-1"

    def is_set_back(self) -> None:
        """Let all stored dates lie in the future, as after the clock was set back, and go on."""
        later = (datetime.now(UTC) + timedelta(days=400)).isoformat()
        with closing(sqlite3.connect(self.data / "progress.sqlite3", isolation_level=None)) as db:
            for table in ("reached", "last_runs"):
                db.execute(f"update {table} set at = ?", (later,))
        with self.serving() as server:
            self.learn(server)
            assert self.command("seats", "purge", "--before", "1d").stdout == "Deleted 0 seats.\n"
            server.stop()


class RefusedRunError(Exception):
    """A run was not accepted; the message is the server's sentence."""


def _events(client: httpx.Client, path: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in re.findall(r"^data: (.*)$", client.get(path).text, re.MULTILINE)]
