"""Targets on demand over the API: which are offered, and a real run that waits for one."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from app.course.lesson import Lesson
from app.engine.targets import Targets, best_for
from app.protocol.command import parse
from app.settings import Settings
from app.toolchain import Demand, Toolchain
from app.toolchain.linkers import find_lld
from app.toolchain.sysroot import PrivateSysroot, create_sysroot, place
from tests.support.server import Server

WINDOWS = "x86_64-pc-windows-msvc"
COMMAND = f'cargo rustc --target {WINDOWS} -- -C link-args="/ENTRY:_start /SUBSYSTEM:console"'


@pytest.mark.anyio
async def test_only_what_lessons_build_for_can_be_asked_for(
    lessons: dict[str, Lesson], toolchains: tuple[Toolchain, ...], tmp_path: Path
) -> None:
    bare = tuple(replace(one, targets={one.host: "shipped"}) for one in toolchains)
    able = (*bare[:-1], replace(bare[-1], targets={WINDOWS: "built"}))
    now = bare

    async def find() -> tuple[Toolchain, ...]:
        return now

    async def add(*_arguments: object) -> tuple[str, ...]:
        nonlocal now
        now = able
        return ()

    demand = Demand(tmp_path, add)
    targets = Targets(known(lessons), demand)
    for line in ("cargo build", "cargo build --target riscv32imac-unknown-none-elf", "rustup target list"):
        assert targets.pending(parse(line), {}, bare) == ()
    assert [one.state for one in targets.target_statuses(bare, [WINDOWS])] == ["missing"], "nobody has asked yet"
    assert targets.pending(parse(f"rustup target add {WINDOWS}"), {}, bare) == (WINDOWS,)
    assert targets.offers(WINDOWS)
    assert not targets.offers("riscv32imac-unknown-none-elf")
    pending = targets.pending(parse(f"cargo build --target {WINDOWS}"), {}, bare)
    assert pending == (WINDOWS,)
    assert [one.pending for one in targets.target_statuses(bare, [WINDOWS])] == [True]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(targets.work, find)
        await targets.settled(pending, print)
        assert best_for(pending, bare[0].name, await find()) == able[-1].name, "the chosen one does not have it"
        tasks.cancel_scope.cancel()
    assert best_for(pending, bare[0].name, bare) == bare[0].name, "nobody has it"
    assert targets.pending(parse(f"cargo build --target {WINDOWS}"), {}, able) == ()
    assert [one.state for one in targets.target_statuses(able, [WINDOWS])] == ["ready"]


@pytest.mark.parametrize(
    ("line", "config", "waits"),
    [
        ("cargo run", f'[build]\ntarget = "{WINDOWS}"\n', True),
        ("cargo run", f'[build]\ntarget = ["{WINDOWS}"]\n', True),
        ("cargo run --target x86_64-unknown-linux-gnu", f'[build]\ntarget = "{WINDOWS}"\n', False),
        ("cargo run", '[build]\ntarget = "made-up"\n', False),
        ("cargo run", "[build]\ntarget = 7\n", False),
        ("cargo run", "build = 7\n", False),
        ("cargo run", "[build\n", False),
        ("cargo run", "deep = " + 20_000 * "[", False),
    ],
)
def test_a_target_that_the_crate_itself_asks_for_is_waited_for(
    lessons: dict[str, Lesson], toolchains: tuple[Toolchain, ...], tmp_path: Path, line: str, config: str, waits: bool
) -> None:
    bare = tuple(replace(one, targets={one.host: "shipped"}) for one in toolchains)
    targets = Targets(known(lessons), Demand(tmp_path, _never))
    assert bool(targets.pending(parse(line), {".cargo/config.toml": config}, bare)) == waits


def known(lessons: dict[str, Lesson]) -> set[str]:
    """The targets of all lessons."""
    return {target for lesson in lessons.values() for target in lesson.targets}


async def _never(*_arguments: object) -> tuple[Any, ...]:
    raise AssertionError("nothing is set up here")


@pytest.fixture
def without_windows(
    toolchains: tuple[Toolchain, ...], shipped: Settings, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine where only rustup's compiler has targets, with a rustup that copies them."""
    able = [one for one in toolchains if one.targets.get(WINDOWS) == "built"]
    if not able:
        pytest.skip(f"no {WINDOWS} was built here; playground setup --all makes it ready")
    compiler = replace(able[-1], rustc=able[-1].compiler)
    linker = find_lld(compiler)
    assert linker
    folder = open_folder / "rustup/toolchains/fresh"
    create_sysroot(PrivateSysroot(folder), compiler, linker)
    (folder / "bin/cargo").symlink_to(compiler.cargo)
    rustup = open_folder / "rustup/rustup"
    cores = place(compiler, shipped.cache_dir).folder / "lib/rustlib"
    rustup.write_text(f'#!/bin/sh\nshift 2\nfor each; do cp -R "{cores}/$each" {folder}/lib/rustlib/ || exit 1; done\n')
    rustup.chmod(0o755)
    monkeypatch.setenv("RUSTUP_HOME", str(open_folder / "rustup"))
    monkeypatch.setenv("PATH", f"{rustup.parent}:{os.environ['PATH']}")


@pytest.mark.usefixtures("without_windows")
def test_a_run_that_needs_a_target_waits_until_it_is_there_and_reaches_the_goal(
    start_server: Callable[..., Server], open_folder: Path
) -> None:
    server = start_server(PLAYGROUND_CACHE_DIR=str(open_folder / "cache"))
    with httpx.Client(base_url=server.url, timeout=60) as client:
        before = client.get("/api/lessons/windows-linker-arguments").json()
        assert before["targets"] == {WINDOWS: "missing"}
        accepted = client.post("/api/runs", json={"lesson": "windows-linker-arguments", "command": COMMAND}).json()
        body = client.get(accepted["events"]).text
        events = [json.loads(line.removeprefix("data: ")) for line in body.splitlines() if line.startswith("data: ")]
        said = "".join(event["text"] for event in events if event["type"] == "output")
        assert f"core for {WINDOWS} is set up here" in said
        assert f"rustup target add {WINDOWS}" in said
        (artifact,) = [event for event in events if event["type"] == "artifact"]
        assert (artifact["format"], artifact["subsystem"]) == ("PE", "console")
        assert events[-1]["reached"]
        assert client.get("/api/lessons/windows-linker-arguments").json()["targets"] == {WINDOWS: "ready"}
