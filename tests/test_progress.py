"""What is kept of a seat, and that nothing else is."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.progress import Progress

pytestmark = pytest.mark.anyio


@pytest.fixture
def progress(tmp_path: Path) -> Iterator[Progress]:
    progress = Progress(tmp_path / "data" / "progress.sqlite3")
    yield progress
    progress.close()


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
    assert await progress.last_lesson("a") == "no-std"
    await progress.reset("a", "no-std")
    assert await progress.last_run("a", "no-std") is None


async def test_forgetting_a_seat_leaves_the_others(progress: Progress) -> None:
    for seat in "ab":
        await progress.save(seat, "no-std", {"x": seat})
        await progress.mark(seat, "no-std", "1.96")
        await progress.note_run(seat, "no-std", "run", "cargo build")
    await progress.forget("a")
    assert (await progress.files("a", "no-std"), await progress.reached("a")) == ({}, {})
    assert await progress.last_lesson("a") is None
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
