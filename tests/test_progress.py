"""The data kept for a seat: everything the pages need and nothing else."""

import json
import resource
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.progress import Guidance, Offers, Predicted, Progress, Try, fingerprint
from app.progress.schema import ROOM_TABLES, TABLES
from app.progress.seats import stored_seats

pytestmark = pytest.mark.anyio


@pytest.fixture
def progress(tmp_path: Path) -> Iterator[Progress]:
    progress = Progress(tmp_path / "data" / "progress.sqlite3")
    yield progress
    progress.close()


@pytest.fixture
def database(progress: Progress, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A second connection to the database of ``progress``."""
    del progress  # which has created the file
    connection = sqlite3.connect(tmp_path / "data" / "progress.sqlite3", isolation_level=None)
    yield connection
    connection.close()


async def test_files_are_kept_by_seat_and_lesson(progress: Progress) -> None:
    await progress.save("a", "no-std", {"src/main.rs": "1", "Cargo.toml": "2"})
    await progress.save("a", "no-std", {"src/main.rs": "3"})
    await progress.save("b", "no-std", {"src/main.rs": "4"})
    assert await progress.files("a", "no-std") == {"src/main.rs": "3", "Cargo.toml": "2"}
    assert await progress.files("b", "no-std") == {"src/main.rs": "4"}
    assert await progress.files("a", "hello-std") == {}


async def test_a_step_stays_reached_and_its_first_time_counts(progress: Progress) -> None:
    await progress.mark("a", "no-std", "1.96")
    first = (await progress.reached("a"))["no-std"]
    await progress.mark("a", "no-std", "1.95")
    await progress.reset("a", "no-std")
    assert await progress.reached("a") == {"no-std": first}
    assert first.tzinfo is not None


async def test_the_latest_run_is_found_again(progress: Progress) -> None:
    assert await progress.last_run("a", "no-std") is None
    await progress.note_run("a", "no-std", "run1", "cargo build")
    await progress.note_run("a", "no-std", "run2", "cargo check")
    assert await progress.last_run("a", "no-std") == "run2"
    assert await progress.last_command("a", "no-std") == "cargo check"
    await progress.note_run("a", "tiny/no-std", "run3", "cargo build")
    assert await progress.last_lesson("a", ["no-std", "hello-std"]) == "no-std"
    assert await progress.last_lesson("a", ["tiny/no-std"]) == "tiny/no-std"
    await progress.reset("a", "no-std")
    assert await progress.last_run("a", "no-std") is None


async def test_forgetting_a_seat_leaves_the_others(progress: Progress) -> None:
    for seat in "ab":
        await progress.save(seat, "no-std", {"x": seat})
        await progress.mark(seat, "no-std", "1.96")
        await progress.note_run(seat, "no-std", "run", "cargo build")
    await progress.forget("a")
    assert (await progress.files("a", "no-std"), await progress.reached("a")) == ({}, {})
    assert await progress.last_lesson("a", ["no-std"]) is None
    assert await progress.files("b", "no-std") == {"x": "b"}


async def test_it_is_there_after_a_restart_without_a_close(tmp_path: Path) -> None:
    first = Progress(tmp_path / "progress.sqlite3")
    await first.save("a", "no-std", {"x": "kept"})
    second = Progress(tmp_path / "progress.sqlite3")
    assert await second.files("a", "no-std") == {"x": "kept"}
    first.close()
    second.close()


async def test_a_closed_store_is_an_error(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "progress.sqlite3")
    await progress.check()
    progress.close()
    with pytest.raises(sqlite3.Error):
        await progress.check()


async def test_a_version_comes_back_and_what_it_replaced_can_be_had_again(progress: Progress) -> None:
    versions = progress.versions
    await versions.keep("a", "no-std", {"x": "mine"}, "you did it")
    await versions.save("a", "no-std", {"x": "other"})
    assert (await versions.offers("a", "no-std")).undo == "you did it"
    assert await versions.turn("a", "no-std", "undo", {"x": "other, edited"})
    assert await versions.files("a", "no-std") == {"x": "mine"}
    offers = await versions.offers("a", "no-std")
    assert (offers.undo, offers.redo) == (None, "you did it")
    assert await versions.turn("a", "no-std", "redo", {"x": "mine"})
    assert await versions.files("a", "no-std") == {"x": "other, edited"}
    assert not await versions.turn("a", "no-std", "redo", {})
    assert not await versions.turn("b", "no-std", "undo", {})


async def test_versions_come_back_in_order_and_the_oldest_go(progress: Progress) -> None:
    for number in range(30):
        await progress.versions.keep("a", "no-std", {"x": str(number)}, f"step {number}")
    seen = []
    while (await progress.versions.offers("a", "no-std")).undo:
        await progress.versions.turn("a", "no-std", "undo", {})
        seen.append((await progress.files("a", "no-std"))["x"])
    assert seen == [str(number) for number in range(29, 9, -1)]


async def test_a_new_replacement_drops_what_was_taken_back(progress: Progress) -> None:
    await progress.versions.keep("a", "no-std", {"x": "1"}, "one")
    await progress.versions.turn("a", "no-std", "undo", {"x": "2"})
    await progress.versions.keep("a", "no-std", {"x": "3"}, "three")
    offers = await progress.versions.offers("a", "no-std")
    assert (offers.undo, offers.redo) == ("three", None)


async def test_hints_once_opened_stay_open(progress: Progress) -> None:
    assert await progress.guides.opened("a", "no-std") == 0
    await progress.guides.open("a", "no-std", 3)
    await progress.guides.open("a", "no-std", 1)
    assert await progress.guides.opened("a", "no-std") == 3


async def test_a_prediction_can_change_until_it_has_turned_out(progress: Progress) -> None:
    guides = progress.guides
    await guides.turned_out("a", "no-std", "x", "1.96")
    assert await guides.predicted("a", "no-std") is None, "nothing was predicted"
    await guides.open("a", "no-std", 1)
    assert await guides.predicted("a", "no-std") is None
    await guides.predict("a", "no-std", "x")
    await guides.predict("a", "no-std", "y")
    await guides.turned_out("a", "no-std", "x", "1.96")
    await guides.turned_out("a", "no-std", "z", "1.63")
    await guides.predict("a", "no-std", "x")
    assert await guides.predicted("a", "no-std") == Predicted("y", "x", "1.96")


async def test_forgetting_leaves_nothing_in_any_table(progress: Progress, database: sqlite3.Connection) -> None:
    await progress.versions.keep("a", "no-std", {"x": "1"}, "one")
    await progress.versions.note("a", "no-std", "ran", {"x": "1"})
    await progress.guides.predict("a", "no-std", "x")
    await progress.save("a", "no-std", {"x": "1"})
    await progress.mark("a", "no-std", "1.96")
    await progress.note_run("a", "no-std", "run", "cargo build")
    await progress.room.open(0, {})
    await progress.room.join("a", "Ada", 0)
    await progress.room.add("a", Try("course", "0", "no-std", 0, False, "failed", None, (), 0.1))
    await progress.room.send("a", "no-std", "sentence", "Hello", 0)
    await progress.room.show("a", "run", "no-std", 1)
    await progress.room.link("hash", "a", 1, "you")

    def counts() -> set[int]:
        return {database.execute(f"select count(*) from {table}").fetchone()[0] for table in TABLES}

    assert counts() == {1}
    await progress.forget("a")
    assert counts() == {0}


@pytest.mark.parametrize("change", ["forget", "reset"])
async def test_forgetting_is_all_or_nothing(progress: Progress, database: sqlite3.Connection, change: str) -> None:
    await progress.save("a", "no-std", {"x": "1"})
    await progress.versions.note("a", "no-std", "ran", {"x": "1"})
    await progress.note_run("a", "no-std", "run", "cargo build")
    last = "guides" if change == "forget" else "last_runs"
    await progress.guides.open("a", "no-std", 1)
    database.execute(f"create trigger refuse before delete on {last} begin select raise(abort, 'no room'); end")
    with pytest.raises(sqlite3.Error, match="no room"):
        await (progress.forget("a") if change == "forget" else progress.reset("a", "no-std"))
    assert await progress.files("a", "no-std") == {"x": "1"}
    assert await progress.versions.noted("a", "no-std", "ran") == {"x": "1"}
    assert await progress.last_run("a", "no-std") == "run"


async def test_a_locked_file_holds_no_threads_that_others_need(progress: Progress, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "data" / "progress.sqlite3", isolation_level=None, check_same_thread=False)
    other.execute("begin immediate")
    async with anyio.create_task_group() as tasks:
        for number in range(90):
            tasks.start_soon(progress.mark, "a", f"lesson-{number}", "1.96")
        await anyio.sleep(0.2)
        with anyio.fail_after(4):  # the others wait for five seconds
            await anyio.to_thread.run_sync(other.execute, "commit")
    other.close()
    assert len(await progress.reached("a")) == 90


async def test_the_guidance_of_a_lesson_is_what_its_parts_say(progress: Progress) -> None:
    assert await progress.guidance("ada", "no-std") == Guidance(0, None, False, Offers(), {})
    await progress.versions.run("ada", "no-std", {"src/main.rs": "1"}, {"src/main.rs": "1"}, None, "elsewhere")
    await progress.note_run("ada", "no-std", "7f", "cargo build")
    await progress.guides.open("ada", "no-std", 2)
    await progress.guides.predict("ada", "no-std", "yes")
    found = await progress.guidance("ada", "no-std")
    assert found == Guidance(2, Predicted("yes"), True, Offers(), {"src/main.rs": "1"})
    assert await progress.prediction("ada", "no-std") == (Predicted("yes"), True)
    assert await progress.prediction("bob", "no-std") == (None, False)


@pytest.mark.parametrize(("base", "kept"), [(None, False), ("old", True), (fingerprint({"a": "first"}), False)])
async def test_a_run_keeps_texts_that_another_tab_has_stored(
    progress: Progress, base: str | None, *, kept: bool
) -> None:
    await progress.versions.run("ada", "no-std", {"a": "first"}, {"a": "first"}, None, "elsewhere")
    await progress.versions.run("ada", "no-std", {"a": "second"}, {"a": "second"}, base, "elsewhere")
    assert (await progress.versions.offers("ada", "no-std")).undo == ("elsewhere" if kept else None)
    assert await progress.files("ada", "no-std") == {"a": "second"}
    assert await progress.versions.noted("ada", "no-std", "ran") == {"a": "second"}


@pytest.fixture
async def three_seats(progress: Progress) -> Progress:
    """``old`` ran something in January 2026 and ``new`` just now; ``mute`` has only opened a hint."""
    await progress.mark("old", "no-std", "1.96", datetime(2026, 1, 15, tzinfo=UTC))
    await progress.save("old", "no-std", {"x": "grüße"})
    await progress.note_run("new", "no-std", "run", "cargo build")
    await progress.guides.open("mute", "no-std", 1)
    return progress


async def test_seats_are_listed_purged_and_exported_while_a_server_uses_them(
    three_seats: Progress, tmp_path: Path, database: sqlite3.Connection
) -> None:
    def playground(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli, words, env={"PLAYGROUND_DATA_DIR": str(tmp_path / "data")})
        assert done.exit_code == code, done.output
        return done.output

    new, old, mute = map(json.loads, playground("seats", "list", "--json").splitlines())
    assert [one["seat"] for one in (new, old, mute)] == ["new", "old", "mute"]
    assert (old["last"], old["reached"], old["rows"]) == ("2026-01-15T00:00:00+00:00", 1, 2)
    assert old["bytes"] > len("grüße")
    assert mute["last"] is None
    assert playground("seats", "list").splitlines()[-1].startswith("3 seats, ")
    exported = json.loads(playground("seats", "export", "old"))
    assert exported["tables"]["files"] == [{"seat": "old", "lesson": "no-std", "path": "x", "text": "grüße"}]
    assert "seats list" in playground("seats", "export", "eve", code=1)
    assert "not a day" in playground("seats", "purge", "--before", "May", code=2)
    assert playground("seats", "purge", "--before", "2026-01-15") == "Deleted 0 seats.\n", "that day itself is kept"
    assert playground("seats", "purge", "--before", "2026-01-16", "--dry-run") == "Would delete 1 seat.\n"
    assert await three_seats.files("old", "no-std")
    assert playground("seats", "purge", "--before", "2026-01-16") == "Deleted 1 seat.\n"
    assert [one.seat for one in stored_seats(database)] == ["new", "mute"]
    assert not await three_seats.files("old", "no-std")


def test_seats_without_a_database_end_with_a_sentence(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["seats", "list"], env={"PLAYGROUND_DATA_DIR": str(tmp_path)})
    assert (done.exit_code, done.output) == (1, f"{tmp_path}/progress.sqlite3 does not exist: nothing is stored.\n")
    assert not list(tmp_path.iterdir())


async def test_old_seats_are_purged_all_or_none(three_seats: Progress, database: sqlite3.Connection) -> None:
    database.execute("insert into reached values ('odd', 'no-std', 'some day', '1.96')")
    database.execute("create trigger refuse before delete on reached begin select raise(abort, 'no room'); end")
    now = datetime.now(UTC)
    with pytest.raises(sqlite3.Error, match="no room"):
        await three_seats.purge(now)
    assert await three_seats.files("old", "no-std")
    database.execute("drop trigger refuse")
    assert await three_seats.purge(now - timedelta(days=180)) == ["old"]
    assert {one.seat for one in stored_seats(database)} == {"new", "mute", "odd"}, "what has no date is not too old"


async def test_a_purge_keeps_the_tries_of_a_class_in_its_sums(progress: Progress, database: sqlite3.Connection) -> None:
    await progress.mark("old", "no-std", "1.96", datetime(2026, 1, 15, tzinfo=UTC))
    tried = datetime(2026, 2, 1, tzinfo=UTC)
    database.execute(
        "insert into tries (seat, course, digest, lesson, at, reached, status, failed, seconds)"
        " values ('old', 'c', 'd', 'no-std', ?, 1, 'ok', '', 1.0)",
        (tried.timestamp(),),
    )
    assert stored_seats(database)[0].last == tried, "a try is dated, too"
    assert await progress.purge(datetime(2026, 3, 1, tzinfo=UTC)) == ["old"]
    assert database.execute("select count(*) from tries").fetchone() == (0,)
    assert database.execute("select sum(count) from sums where lesson = 'no-std'").fetchone()[0] > 0


async def test_the_check_tries_every_table_and_changes_nothing(
    progress: Progress, database: sqlite3.Connection
) -> None:
    await progress.save("a", "no-std", {"x": "mine"})
    before = list(database.iterdump())
    await progress.check()
    assert list(database.iterdump()) == before
    database.execute("begin immediate")
    database.execute("rollback")
    for table in (*TABLES, *ROOM_TABLES):
        database.execute(f"create trigger refuse before insert on {table} begin select raise(abort, 'no room'); end")
        with pytest.raises(sqlite3.Error, match="no room"):
            await progress.check()
        assert progress.failure == "no room"
        await progress.reached("a")
        assert progress.failure == "no room", "reading proves nothing"
        database.execute("drop trigger refuse")
        await progress.check()
        assert progress.failure is None
    database.execute("alter table guides rename to lost")
    with pytest.raises(sqlite3.Error, match="no such table: guides"):
        await progress.check()


async def test_the_check_really_writes_to_the_disk(progress: Progress) -> None:
    """The limit makes each write to a file fail, as on a full disk."""
    await progress.check()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(sqlite3.Error):
            await progress.check()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await progress.check()
    await progress.save("a", "no-std", {"x": "mine"})
    assert await progress.files("a", "no-std") == {"x": "mine"}
