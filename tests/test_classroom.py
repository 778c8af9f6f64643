"""The command ``playground class``: what it prints, refuses, replaces, exports and ends, while a server runs."""

import csv
import io
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import anyio
import httpx
import pytest
from typer import Exit
from typer.testing import CliRunner

from app.cli import classroom, cli
from app.cli.classroom import announcement, exported, learners_address, opened
from app.progress import Progress
from app.settings import Settings
from app.settings.hosts import interface_addresses
from app.web.classroom import new_key
from tests.support.classroom import ClassServer, holding, playground
from tests.support.clients import seated
from tests.support.environment import within


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a class that goes on: somebody joined it fifteen days ago and has run nothing since."""
    data = tmp_path_factory.mktemp("class") / "data"
    anyio.run(join_long_ago, data)
    return data


async def join_long_ago(data: Path) -> None:
    progress, then = Progress(data / "progress.sqlite3"), time.time() - 15 * 24 * 3600
    await progress.room.open(then, {})
    await progress.room.join("0" * 32, "Forgetful", then)
    progress.close()


def members(data: Path) -> set[str]:
    with closing(sqlite3.connect(f"file:{data}/progress.sqlite3?mode=ro", uri=True)) as db:
        return {name for (name,) in db.execute("select name from members")}


@pytest.fixture(scope="module")
def held(data: Path) -> Iterator[ClassServer]:
    with holding(data, "--name", "Rust", "--code") as server:
        yield server


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("192.168.1.5", "http://192.168.1.5:8123/rust"),
        ("192.168.1.5:80", "http://192.168.1.5:80/rust"),
        ("[fe80::1]", "http://[fe80::1]:8123/rust"),
        ("https://rust.example.org/", "https://rust.example.org"),
        ("https://example.org/rust", "https://example.org/rust"),
    ],
)
def test_the_learners_address_has_the_port_and_the_path_that_work(settings: Settings, given: str, address: str) -> None:
    assert learners_address(given, settings.model_copy(update={"root_path": "/rust"}), 8123) == address


def test_at_a_desk_the_address_is_that_of_an_interface(settings: Settings) -> None:
    host = next(iter(interface_addresses()), "localhost")
    assert learners_address("", settings, 8000) == f"http://{host}:8000"


@pytest.mark.parametrize("given", ["ftp://a.example", "a b", "*", "http://a.example?x"])
def test_what_is_no_address_is_refused(settings: Settings, given: str) -> None:
    with pytest.raises(Exit):
        learners_address(given, settings, 8000)


def test_in_a_container_the_address_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(classroom, "_CONTAINERS", (str(tmp_path),))
    found = CliRunner().invoke(cli, ["class"])
    assert found.exit_code == 2
    assert "hostname -I" in found.stderr
    assert "--address" in found.stderr


def test_the_announcement_has_both_addresses_and_a_qr_code() -> None:
    said = announcement("http://192.168.1.5:8000", "KEY", "BCDF")
    assert "Learners:    http://192.168.1.5:8000/\n" in said
    assert "Instructor:  http://192.168.1.5:8000/class#KEY\n" in said
    assert "Code:        BCDF" in said
    assert said.count("█") > 100


def test_two_commands_that_open_a_class_at_once_print_the_same_key_and_code(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun() -> tuple[str, str]:
        return opened(settings, "http://localhost:1", "Rust", code=True)

    def slow() -> str:
        """The other command opens the class while this one makes its key."""
        monkeypatch.undo()
        with ThreadPoolExecutor(1) as other:
            printed.append(other.submit(begun).result())
        return new_key()

    printed: list[tuple[str, str]] = []
    monkeypatch.setattr("app.web.classroom.new_key", slow)
    printed.append(begun())
    assert printed[0] == printed[1] == begun()
    assert re.fullmatch("[A-Z]{4}", printed[0][1])


def test_an_export_is_json_or_csv_that_no_spreadsheet_executes() -> None:
    rows: list[dict[str, object]] = [{"name": "=cmd", "at": 1.5, "error": None}]
    assert json.loads(exported(rows, as_csv=False)) == rows
    [row] = csv.DictReader(io.StringIO(exported(rows, as_csv=True)))
    assert row == {"name": "'=cmd", "at": "1.5", "error": ""}
    [wide] = csv.DictReader(io.StringIO(exported([{"name": "\uff1dcmd"}], as_csv=True)))
    assert wide == {"name": "'\uff1dcmd"}
    assert exported([], as_csv=True) == ""


@pytest.mark.usefixtures("held")
def test_a_server_deletes_the_members_of_long_ago(data: Path) -> None:
    began = time.monotonic()
    while "Forgetful" in members(data) and within(30, began):
        time.sleep(0.05)
    assert "Forgetful" not in members(data)


def test_a_class_is_joined_exported_rekeyed_and_ended_while_it_is_served(held: ClassServer, data: Path) -> None:
    code = held.printed.partition("Code:")[2].split()[0]
    with seated(held.url) as learner, httpx.Client(base_url=held.url) as instructor:
        assert learner.post("/class/join", data={"name": "Ada", "code": code}).status_code == 303
        form = {"file:src/main.rs": "fn main() { nothing }\n", "command": "cargo build"}
        assert learner.post("/lessons/hello-std/runs", data=form).status_code == 200
        assert instructor.post("/class/enter", data={"key": held.key}).status_code == 303
        page = instructor.get("/class").text
        assert "Ada" in page
        assert re.search(r"0 hands raised · queue \d+\.\d s", page)

        [row] = json.loads(playground(data, "export").stdout)
        assert (row["lesson"], row["reached"], row["status"]) == ("hello-std", 0, "failed")
        assert "Ada" not in json.dumps(row)
        assert "Ada" in playground(data, "export", "--names", "--csv").stdout
        sums = json.loads(playground(data, "export", "--sums").stdout)
        assert {"lesson": "hello-std", "what": "learners", "count": 1} in sums

        link = playground(data, "key", "--for", "Grace").stdout
        assert instructor.get("/class").status_code == 200
        with httpx.Client(base_url=held.url) as other:
            assert other.post("/class/enter", data={"key": link.split("#")[1].strip()}).status_code == 303
            playground(data, "key", "--withdraw", "Grace")
            assert other.get("/class").status_code == 403
        assert playground(data, "key", "--withdraw", "Grace").exit_code == 2
        playground(data, "key")
        assert instructor.get("/class").status_code == 403

        assert playground(data, "end").exit_code == 1  # nobody has said yes
        assert playground(data, "end", "--yes").exit_code == 0
        assert json.loads(playground(data, "export", "--names").stdout) == []
        assert json.loads(playground(data, "export", "--sums").stdout) == sums
        assert playground(data, "key").exit_code == 2


def test_the_key_and_its_senders_address_stand_in_no_log(tmp_path: Path) -> None:
    data, sender = tmp_path / "data", "192.0.2.7"
    with holding(data, PLAYGROUND_LOG_FORMAT="json", PLAYGROUND_ACCESS_LOG="true") as held:
        with httpx.Client(base_url=held.url, headers={"x-forwarded-for": sender}) as instructor:
            wrong = held.key[::-1]
            assert instructor.post("/class/enter", data={"key": wrong}).status_code == 403
            assert instructor.post("/class/enter", data={"key": held.key}).status_code == 303
            assert instructor.get("/class").status_code == 200
            cookies = [*instructor.cookies.values()]
        held.server.stop()
        assert held.server.process.stdout
        log = held.server.process.stdout.read()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    told = [(line["message"], line.get("path"), line.get("status")) for line in lines]
    assert ("refused", "/class/enter", 403) in told
    assert ("access", "/class/enter", 303) in told
    assert len(cookies) == 2, "the seat and the instructor"
    for secret in (held.key, wrong, sender, *cookies):
        assert secret not in log
        for path in data.rglob("*"):
            if path.is_file() and not path.name.startswith("progress.sqlite3"):
                assert secret.encode() not in path.read_bytes()
