"""``playground serve --check`` says what would happen, and changes nothing."""

import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.cli.check import check
from app.progress.schema import MIGRATIONS
from app.settings import Settings


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
