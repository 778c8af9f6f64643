"""The folders of servers: those of living ones stay, and those that killed ones left are removed."""

import fcntl
import os
from pathlib import Path

import pytest

from app.engine.scratch import Scratch

pytestmark = pytest.mark.anyio


async def test_every_folder_that_killed_servers_left_is_removed(tmp_path: Path) -> None:
    base = tmp_path / "scratch"
    base.mkdir(mode=0o700)
    for name in ("server-killed", "server-killed-while-it-removed-its-lock", "starting-killed", "starting-now"):
        (base / name / "artifacts").mkdir(parents=True)
    (base / "server-killed" / "lock").touch()
    os.utime(base / "starting-killed", (0, 0))
    async with Scratch(base) as first, Scratch(base) as second:
        assert {path.name for path in base.iterdir()} == {"starting-now", first.path.name, second.path.name}
    assert [path.name for path in base.iterdir()] == ["starting-now"]


async def test_a_living_server_that_locks_a_file_keeps_its_folder(tmp_path: Path) -> None:
    base = tmp_path / "scratch"
    old = base / "server-old"
    old.mkdir(parents=True, mode=0o700)
    base.chmod(0o700)
    with (old / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        async with Scratch(base):
            assert old.exists()
    async with Scratch(base):
        assert not old.exists()
