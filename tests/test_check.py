"""``playground serve --check`` says what would happen, and changes nothing."""

import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from app.cli.check import check
from app.engine.nats import subjects
from app.engine.nats.words import NO_WORKER
from app.progress.schema import MIGRATIONS
from app.settings import Settings
from tests.support.broker import connected, nats_server


def test_a_start_that_would_work_is_described_and_nothing_is_made(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLAYGROUND_MAX_RUN", "3")
    lines: list[str] = []
    assert check(settings.model_copy(update={"port": 0}), lines.append)
    assert lines[-1] == "The playground would start."
    assert "PLAYGROUND_MAX_RUNS" in lines[0], "the name that was probably meant"
    said = "\n".join(lines)
    for part in ("courses: ", "progress: ", "the seats' key: ", "isolation of runs: ", "answers to: ", "compilers: "):
        assert f"ok    {part}" in said
    assert not settings.data_dir.exists()


def test_a_start_with_workers_elsewhere_asks_the_broker_and_changes_nothing_there(
    settings: Settings, tmp_path: Path
) -> None:
    with nats_server() as nats:
        lines: list[str] = []
        elsewhere = settings.model_copy(update={"port": 0, "engine": nats.url})
        assert check(elsewhere, lines.append), lines
        assert f"ok    broker: {nats.url}" in lines
        assert f"ok    {NO_WORKER}" in lines
        assert not any("isolation" in line or "compilers" in line for line in lines), "the workers have their own"
        assert not anyio.run(streams, nats.url)
        assert not check(elsewhere.model_copy(update={"body_bytes": 8 << 20}), lines.append)
        assert any(line.startswith("FAIL  The broker takes messages of at most") for line in lines)
        assert not check(elsewhere.model_copy(update={"engine_keys": tmp_path / "nowhere"}), lines.append)
        assert any(line.startswith("FAIL  PLAYGROUND_ENGINE_KEYS names") for line in lines)


async def streams(url: str) -> bool:
    """Return True if the broker has the playground's streams."""
    broker = await connected(url)
    try:
        return await broker.has(subjects.RUNS)
    finally:
        await broker.close()


def test_folders_and_addresses_that_cannot_be_used_are_named(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o755)
    (tmp_path / "above").mkdir()
    (tmp_path / "above/Cargo.toml").touch()
    usual = settings.model_copy(update={"port": 0, "isolation": "none"})
    file = tmp_path / "file"
    for faulty, sentences in (
        (
            {"scratch_dir": file, "host": "ä..b", "course": "nowhere"},
            (
                f"{file} is not a folder that can be written, which runs need.",
                "ä..b is not the name of a computer",
                f"{settings.lessons_dir}: there is no course 'nowhere'",
            ),
        ),
        (
            {"data_dir": file / "data", "host": "no-such-host.invalid", "lessons_dir": file},
            (
                f"{file} is not a folder that can be written, which data need.",
                "no-such-host.invalid:0 cannot be served on: ",
                f"{file}: there is no such folder",
            ),
        ),
        ({"static_dir": tmp_path}, (f"PLAYGROUND_STATIC_DIR names {tmp_path}, which has no style sheets",)),
    ):
        lines: list[str] = []
        assert not check(usual.model_copy(update=faulty), lines.append), faulty
        for sentence in sentences:
            assert any(line.startswith(f"FAIL  {sentence}") for line in lines), (sentence, lines)
    lines = []
    assert check(usual.model_copy(update={"scratch_dir": tmp_path / "above/runs"}), lines.append)
    assert f"ok    but: {tmp_path}/above/Cargo.toml lies above the runs" in "\n".join(lines)
    assert "ok    PLAYGROUND_ISOLATION is none: runs are not isolated." in lines


def test_everything_that_would_stop_a_start_is_named_and_nothing_is_changed(settings: Settings, tmp_path: Path) -> None:
    settings.data_dir.mkdir()
    database, key = settings.data_dir / "progress.sqlite3", settings.data_dir / "seat.key"
    with closing(sqlite3.connect(database)) as db:
        db.execute(f"pragma user_version = {len(MIGRATIONS) + 1}")
    key.write_bytes(b"x" * 32)
    key.chmod(0o644)
    before = database.read_bytes()
    lines: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        faulty = {"port": taken.getsockname()[1], "host": "127.0.0.1", "lessons_dir": tmp_path / "nowhere"}
        assert not check(settings.model_copy(update=faulty), lines.append)
    assert lines[-1] == "The playground would not start."
    failed = [line for line in lines if line.startswith("FAIL  ")]
    for sentence in ("start a newer playground", "chmod 600", "is taken; choose another", str(tmp_path / "nowhere")):
        assert any(sentence in line for line in failed), (sentence, failed)
    assert (database.read_bytes(), key.stat().st_mode & 0o777) == (before, 0o644)
    assert {path.name for path in settings.data_dir.iterdir()} == {database.name, key.name}
