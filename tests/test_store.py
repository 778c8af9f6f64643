"""Transactions of the store: a failed one leaves nothing behind and the store usable."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.progress.store import Store

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "progress.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()


async def reached(store: Store) -> int:
    """Return the number of stored steps."""
    [[count]] = await store.rows("select count(*) from reached")
    assert isinstance(count, int)
    return count


async def test_a_change_that_sqlite_rolled_back_itself_raises_its_own_error(store: Store) -> None:
    def work(db: sqlite3.Connection) -> None:
        db.execute("insert into reached values ('a', 'no-std', 'now', '1.96')")
        db.execute("insert or rollback into reached values ('a', 'no-std', 'now', '1.96')")

    with pytest.raises(sqlite3.IntegrityError):
        await store.together(work)
    assert await reached(store) == 0


async def test_a_commit_that_fails_leaves_the_store_usable(store: Store) -> None:
    for statement in (
        "pragma foreign_keys = on",
        "create table owner (name text primary key)",
        "create table pet (owner text references owner (name) deferrable initially deferred)",
    ):
        await store.rows(statement)

    def work(db: sqlite3.Connection) -> None:
        db.execute("insert into reached values ('a', 'no-std', 'now', '1.96')")
        db.execute("insert into pet values ('nobody')")

    with pytest.raises(sqlite3.IntegrityError):
        await store.together(work)
    assert await reached(store) == 0
    await store.together(lambda db: db.execute("insert into reached values ('a', 'no-std', 'now', '1.96')"))
    assert await reached(store) == 1


async def test_the_reads_of_one_call_see_one_moment(store: Store, path: Path) -> None:
    def count(db: sqlite3.Connection) -> int:
        return int(db.execute("select count(*) from reached").fetchone()[0])

    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:

        def twice(db: sqlite3.Connection) -> tuple[int, int]:
            before = count(db)
            other.execute("insert into reached values ('a', 'no-std', 'now', '1.96')")
            return before, count(db)

        assert await store.read(twice) == (0, 0)
    assert await store.read(count) == 1


async def test_a_read_that_fails_leaves_the_store_usable(store: Store) -> None:
    with pytest.raises(sqlite3.OperationalError):
        await store.read(lambda db: db.execute("select * from nowhere"))
    await store.together(lambda db: db.execute("insert into reached values ('a', 'no-std', 'now', '1.96')"))
    assert await reached(store) == 1
