"""A run's id grants access to the run, so it appears in no name that another process can see."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tests.attacks.case import MANIFEST, program
from tests.attacks.watch import children
from tests.attacks.world import World
from tests.support.files import below

_SLEEPS = program("nap(20_000);")


def _names() -> Iterator[str]:
    """Collect from /proc each process's arguments, variables, thread names, groups, mounts and open files."""
    for pid in children(None):
        files = [Path(f"/proc/{pid}/{name}") for name in ("cmdline", "environ", "cgroup", "mountinfo")]
        with contextlib.suppress(OSError):
            files += Path(f"/proc/{pid}/task").glob("*/comm")
        for file in files:
            with contextlib.suppress(OSError):
                yield file.read_bytes().decode("utf-8", "replace")
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    yield os.readlink(f"/proc/{pid}/fd/{name}")
    yield Path("/proc/net/unix").read_text()


def test_the_id_of_a_run_stands_in_no_name(world: World) -> None:
    ids: list[str] = []
    for event in world.events({"src/main.rs": _SLEEPS, "Cargo.toml": MANIFEST}, "cargo run", ids):
        if "begun" in event.get("text", ""):
            names = list(_names())
            [run_id] = ids
            assert any("PLAYGROUND_DATA_DIR" in name for name in names), "the server was not looked at"
            assert not [name for name in names if run_id in name]
            laid = [path for path in below(world.scratch) if "artifacts" not in path.parts]
            assert laid
            assert not [path for path in laid if run_id in str(path)]
            with world.client() as client:
                client.delete(f"/api/runs/{run_id}")
    assert ids
