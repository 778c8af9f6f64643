"""Migrating older databases: a copy is kept, and every fault leaves the database unchanged."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path

import pytest

from app.progress import Predicted, Progress, UnusableDatabaseError, describe_database
from app.progress.database import checked_version, open_database, tables_of_seats, try_tables
from app.progress.schema import MIGRATIONS, ROOM_TABLES, TABLES, Migrations
from tests.support.forked import run_forked

LATEST = len(MIGRATIONS)
DUMPS = Path(__file__).parent / "databases"
LATER: Migrations = (*MIGRATIONS, ("alter table reached add column course text not null default 'first'",))
NAME = "progress.sqlite3"

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / NAME


def restore(path: Path, version: int) -> None:
    """Create the database that the program of that version would have left."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("pragma journal_mode = wal")
        db.executescript((DUMPS / f"version-{version}.sql").read_text(encoding="utf-8"))


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("pragma user_version").fetchone()[0])


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [*db.iterdump(), str(db.execute("pragma user_version").fetchone()[0])]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def in_a_process(path: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run the script in a new process, with ``path`` and the names for opening the database defined."""
    given = f"""
import os, resource, signal
from pathlib import Path
from app.progress import UnusableDatabaseError
from app.progress.database import open_database
from app.progress.schema import MIGRATIONS
path = Path({str(path)!r})
"""
    command = [sys.executable, "-c", given + script]
    root = Path(__file__).parent.parent
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=60)


def test_a_new_database_has_the_latest_version_and_no_copy(path: Path) -> None:
    open_database(path).close()
    assert version(path) == LATEST
    assert names(path.parent) == {NAME}


@pytest.mark.parametrize("old", range(1, LATEST + 1))
async def test_what_an_old_database_holds_is_there_after_a_start(path: Path, old: int) -> None:
    restore(path, old)
    progress = Progress(path)
    files = {"src/main.rs": "#![no_std]\n", "Cargo.toml": '[package]\nname = "grüße"\n'}
    assert await progress.files("ada", "no-std") == files
    assert await progress.files("bob", "hello-std") == {"src/main.rs": "fn main() {}\n"}
    assert (await progress.reached("ada")).keys() == {"hello-std"}
    assert await progress.last_run("ada", "no-std") == "0123456789abcdef0123456789abcdef"
    await progress.guides.open("ada", "no-std", 3)
    assert await progress.guides.opened("ada", "no-std") == 3
    if old > 1:
        assert await progress.guides.predicted("ada", "no-std") == Predicted("x", "y", "1.96")
        assert (await progress.versions.offers("ada", "no-std")).undo == "you applied the solution"
        assert await progress.versions.noted("ada", "no-std", "ran") == {"src/main.rs": "#![no_std]\n"}
    member = await progress.room.member("ada")
    assert (member and (member.name, member.lesson)) == (("Ada", "no-std") if old > 3 else None)
    progress.close()
    assert version(path) == LATEST


@pytest.mark.parametrize("old", [1, 2])
async def test_who_had_reached_a_lesson_before_it_was_split_has_both_halves(path: Path, old: int) -> None:
    restore(path, old)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("insert into reached values ('carl', 'boot-arm', '2026-01-01T00:00:00+00:00', '1.96')")
    progress = Progress(path)
    assert (await progress.reached("carl")).keys() == {"boot-arm", "boot-arm-uart"}
    await progress.mark("ada", "boot-arm", "1.96")
    assert "boot-arm-uart" not in await progress.reached("ada"), "from now on each half counts for itself"
    progress.close()


def test_there_is_a_dump_of_every_version() -> None:
    assert names(DUMPS) == {f"version-{number}.sql" for number in range(1, LATEST + 1)}


@pytest.mark.parametrize("old", range(1, LATEST + 1))
def test_a_copy_of_the_old_database_is_kept_in_one_file(path: Path, old: int) -> None:
    restore(path, old)
    before = dump(path)
    path.chmod(0o600)
    open_database(path, LATER).close()
    copy = path.with_name(f"{NAME}.version-{old}")
    assert names(path.parent) == {NAME, copy.name}
    assert copy.stat().st_mode & 0o777 == 0o600
    assert dump(copy) == before
    assert version(path) == LATEST + 1
    assert "course text" in "".join(dump(path))


def test_the_copy_holds_what_was_only_in_the_write_ahead_log(path: Path) -> None:
    restore(path, LATEST)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("insert into reached values ('carl', 'no-std', '2026-01-01T00:00:00+00:00', '1.96')")
        assert path.with_name(f"{NAME}-wal").stat().st_size
        open_database(path, LATER).close()
    assert "carl" in "".join(dump(path.with_name(f"{NAME}.version-{LATEST}")))
    assert "carl" in "".join(dump(path))


def test_a_database_of_the_latest_version_is_not_copied(path: Path) -> None:
    restore(path, LATEST)
    before = dump(path)
    open_database(path).close()
    assert names(path.parent) == {NAME}
    assert dump(path) == before


def test_a_newer_database_is_refused_with_both_versions_and_left_alone(path: Path) -> None:
    restore(path, LATEST)
    open_database(path, LATER).close()
    before = path.read_bytes()
    with pytest.raises(UnusableDatabaseError) as refused:
        open_database(path)
    sentence = str(refused.value)
    assert f"version {LATEST + 1}" in sentence
    assert f"up to {LATEST}" in sentence
    copy = path.with_name(f"{NAME}.version-{LATEST}")
    assert f"run `playground restore {copy}`" in sentence
    assert path.read_bytes() == before
    path.write_bytes(copy.read_bytes())
    open_database(path).close()
    copy.unlink()
    open_database(path, LATER).close()
    copy.unlink()
    with pytest.raises(UnusableDatabaseError, match=f"run `playground restore FILE` with a backup of version {LATEST}"):
        open_database(path)


@pytest.mark.parametrize("content", [b"This is a letter, and no database at all.\n" * 200, b"\0" * 8192, b"SQL"])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UnusableDatabaseError, match=r"not a database of the playground .* restore FILE`"):
        open_database(path)
    assert path.read_bytes() == content
    assert names(path.parent) == {NAME}


@pytest.mark.parametrize("statement", ["create table letters (text)", "pragma user_version = -1"])
def test_the_database_of_another_program_is_refused(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement)
    before = dump(path)
    with pytest.raises(UnusableDatabaseError, match="another program made it"):
        open_database(path)
    assert dump(path) == before


def test_tables_of_a_first_start_that_was_killed_are_completed(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in MIGRATIONS[0]:
            db.execute(statement)
            break
    open_database(path).close()
    assert version(path) == LATEST


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    restore(path, LATEST)
    before = dump(path)
    broken = (*MIGRATIONS, ("create table more (seat text)", "insert into nowhere values (1)"))
    with pytest.raises(UnusableDatabaseError, match=rf"from version {LATEST} to {LATEST + 1} \(no such table: nowhere"):
        open_database(path, broken)
    assert dump(path) == before
    open_database(path).close()


def test_a_process_killed_in_a_migration_changes_nothing(path: Path) -> None:
    restore(path, LATEST)
    before = dump(path)
    script = """
def killed():
    yield "create table more (seat text)"
    yield "insert into more values (zeroblob(5000000))"
    os.kill(os.getpid(), signal.SIGKILL)
open_database(path, [*MIGRATIONS, killed()])
"""
    assert in_a_process(path, script).returncode == -signal.SIGKILL
    assert dump(path) == before
    open_database(path, LATER).close()
    assert version(path) == LATEST + 1
    assert names(path.parent) == {NAME, f"{NAME}.version-{LATEST}"}


def test_a_process_killed_at_random_moments_of_a_migration_leaves_the_old_or_the_new_database(path: Path) -> None:
    restore(path, 1)  # every migration is among those in which it is killed
    before, whole = dump(path), path.read_bytes()
    script = """
import random, shutil, time
large = "insert into files values ('a', 'b', 'c', hex(zeroblob(300000)))"
later = [*MIGRATIONS, ["alter table reached add column course text", large]]

def migrate(folder):
    folder.mkdir()
    shutil.copy(path, folder)
    child = os.fork()
    if not child:
        open_database(folder / path.name, later).close()
        os._exit(0)
    return child

began = time.monotonic()
os.waitpid(migrate(path.with_name("whole")), 0)
longest = 1.2 * (time.monotonic() - began)
for number in range(40):
    child = migrate(path.with_name(f"killed-{number}"))
    time.sleep(random.uniform(0, longest))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""
    done = in_a_process(path, script)
    assert not done.stderr
    after = dump(path.with_name("whole") / NAME)
    found = [dump(folder / NAME) for folder in path.parent.glob("killed-*")]
    assert len(found) == 40
    assert all(each in (before, after) for each in found)
    assert before in found
    for folder in path.parent.glob("killed-*"):
        open_database(folder / NAME, LATER).close()
    assert path.read_bytes() == whole


@pytest.mark.parametrize("old", range(1, LATEST + 1))
def test_a_database_with_a_damaged_page_is_refused_with_the_newest_backup(path: Path, old: int) -> None:
    restore(path, old)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        rows = [(f"seat {number}", "x" * 2000) for number in range(50)]
        db.executemany("insert into files values (?, 'no-std', 'src/main.rs', ?)", rows)
    content = bytearray(path.read_bytes())
    content[-20_000:] = b"\xab" * 20_000
    path.write_bytes(content)
    with pytest.raises(UnusableDatabaseError, match=r"is damaged .* No backup of it is known"):
        open_database(path)
    assert path.read_bytes() == bytes(content)
    assert names(path.parent) == {NAME}


def test_an_empty_file_is_a_new_database_only_where_there_is_no_key(path: Path) -> None:
    path.touch()
    open_database(path).close()
    path.write_bytes(b"")
    path.with_name("seat.key").touch()
    with pytest.raises(UnusableDatabaseError, match="empty, although there have been learners"):
        open_database(path)
    assert not path.stat().st_size


def test_a_database_that_another_server_is_making_is_not_taken_for_an_emptied_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exists = Path.exists

    def slow(asked: Path) -> bool:
        """The other server makes the database and the key just before this one looks for the key."""
        monkeypatch.undo()
        open_database(path).close()
        path.with_name("seat.key").touch()
        return exists(asked)

    path.touch()
    monkeypatch.setattr(Path, "exists", slow)
    open_database(path).close()
    assert path.stat().st_size


def test_a_copy_that_was_begun_by_a_killed_process_is_made_anew(path: Path) -> None:
    restore(path, LATEST)
    before = dump(path)
    path.with_name(f"{NAME}.version-{LATEST}.part").write_bytes(b"half of a copy")
    open_database(path, LATER).close()
    assert names(path.parent) == {NAME, f"{NAME}.version-{LATEST}"}
    assert dump(path.with_name(f"{NAME}.version-{LATEST}")) == before


@pytest.mark.parametrize(("room", "kept"), [("path.stat().st_size // 2", False), ("path.stat().st_size", True)])
def test_a_full_disk_changes_nothing(path: Path, room: str, kept: bool) -> None:
    """A limit on file sizes first stops the copy, then the migration itself."""
    restore(path, LATEST)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:  # larger than the index of a write-ahead log
        db.execute("insert into files values ('carl', 'no-std', 'x', ?)", ("x" * 200_000,))
    before = dump(path)
    script = f"""
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
large = ("create table more (seat text)", "insert into more values (zeroblob(5000000))")
try:
    open_database(path, [*MIGRATIONS, large])
except UnusableDatabaseError as error:
    print(error)
"""
    done = in_a_process(path, script)
    assert re.search(rf"could not be migrated from version {LATEST} .* is as it was", done.stdout), done
    assert dump(path) == before
    assert names(path.parent) == {NAME} | ({f"{NAME}.version-{LATEST}"} if kept else set())
    open_database(path, LATER).close()


def test_a_folder_that_cannot_be_written_changes_nothing(open_folder: Path) -> None:
    path = open_folder / NAME
    restore(path, LATEST)
    before = path.read_bytes()
    path.chmod(0o644)
    open_folder.chmod(0o555)
    script = """
import sqlite3
if os.getuid() == 0:
    os.setresuid(50_000, 50_000, 50_000)
try:
    open_database(path, [*MIGRATIONS, ("create table more (seat text)",)])
except (UnusableDatabaseError, sqlite3.Error) as error:
    print(type(error).__name__)
"""
    done = in_a_process(path, script)
    open_folder.chmod(0o711)
    assert re.fullmatch("UnusableDatabaseError|OperationalError", done.stdout.strip()), done
    assert names(open_folder) == {NAME}
    assert path.read_bytes() == before


@pytest.mark.parametrize("old", [None, LATEST])
def test_servers_that_start_at_once_migrate_once(path: Path, old: int | None) -> None:
    if old:
        restore(path, old)
    before = dump(path) if old else []
    together = threading.Barrier(6)
    failed: list[Exception] = []

    def start() -> None:
        together.wait()
        try:
            open_database(path, LATER).close()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert version(path) == LATEST + 1
    assert names(path.parent) == {NAME} | ({f"{NAME}.version-{old}"} if old else set())
    if old:
        assert dump(path.with_name(f"{NAME}.version-{old}")) == before


def test_a_server_waits_for_another_one_that_makes_the_database(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        monkeypatch.setattr("time.sleep", lambda _: other.execute("commit"))
        open_database(path).close()
        assert not other.in_transaction
    assert version(path) == LATEST


def test_a_server_does_not_wait_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.progress.database._WAIT_SECONDS", 0)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            open_database(path)


def test_a_database_that_is_migrated_while_it_is_examined_is_not_taken_for_another_programs(path: Path) -> None:
    class Slow(sqlite3.Connection):
        """Another server makes the tables between two of its statements."""

        statements = 0

        def execute(self, *given: object) -> sqlite3.Cursor:
            self.statements += 1
            if self.statements == 2:
                open_database(path).close()
            return super().execute(*given)  # type: ignore[arg-type]  # passed on as they came

    with closing(sqlite3.connect(path, factory=Slow, isolation_level=None)) as db:
        assert checked_version(db, path) in (0, LATEST)
        assert db.statements > 2
    assert version(path) == LATEST


def test_a_check_of_the_disk_does_not_undo_the_version_of_a_newer_server(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(sqlite3.Connection):
        """A newer server starts just before the version is written back."""

        started = False

        def execute(self, *given: object) -> sqlite3.Cursor:
            if str(given[0]).startswith("pragma user_version ="):
                self.started = True
                with suppress(sqlite3.OperationalError):  # locked
                    open_database(path, LATER).close()
            return super().execute(*given)  # type: ignore[arg-type]  # passed on as they came

    restore(path, LATEST)
    monkeypatch.setattr("app.progress.database._WAIT_SECONDS", 0)
    with closing(sqlite3.connect(path, factory=Slow, isolation_level=None)) as db:
        try_tables(db)
        assert db.started
    open_database(path, LATER).close()
    assert version(path) == LATEST + 1


def test_every_table_of_a_seat_is_forgotten_with_it(path: Path) -> None:
    with closing(open_database(path)) as db:
        tables = {name for (name,) in db.execute("select name from sqlite_master where type = 'table'")}
        assert tables == {*TABLES, *ROOM_TABLES}
        assert set(TABLES) <= set(tables_of_seats(db))
        for table in TABLES:
            assert "seat" in [column[1] for column in db.execute(f"pragma table_info({table})")]


def test_a_database_is_described_without_being_changed(path: Path) -> None:
    assert "made at the first start" in describe_database(path)
    assert not names(path.parent)
    restore(path, LATEST)
    before = dump(path)
    assert describe_database(path) == f"{path} has version {LATEST}, the latest."
    assert f"migrates it to version {LATEST + 1}" in describe_database(path, LATER)
    assert "start a newer playground" in describe_database(path, MIGRATIONS[:-1])
    assert dump(path) == before
    path.unlink()
    path.mkdir()
    assert "cannot be opened" in describe_database(path)


def test_a_server_says_why_it_does_not_start(path: Path) -> None:
    restore(path, LATEST)
    open_database(path, LATER).close()
    done = run_forked("serve", "--port", "0", env=os.environ | {"PLAYGROUND_DATA_DIR": str(path.parent)})
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"knows versions up to {LATEST}: start a newer playground" in done.stderr
