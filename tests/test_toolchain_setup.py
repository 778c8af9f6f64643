"""Set-up: the first way that works, announced beforehand, complete or not at all, within its permissions."""

import fcntl
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from app.course.lesson import Lesson
from app.settings import Settings
from app.toolchain import (
    Survey,
    Toolchain,
    add_targets,
    debian,
    discover,
    missing_tools,
    setup,
    setup_era,
    setup_tools,
    survey,
)
from app.toolchain.build import BuildError, prove
from app.toolchain.linkers import find_lld
from app.toolchain.lock import locked
from app.toolchain.needs import can_build_core, needs
from app.toolchain.sysroot import PrivateSysroot, create_sysroot, lineage, place
from tests.support.environment import BARE_METAL, within
from tests.support.polling import eventually_async
from tests.support.processes import put_on_path

SCRIPT = """
import signal
import sys
from pathlib import Path
import anyio
from app.toolchain import setup
# As app.cli.main does: a shell starts background jobs with SIGINT ignored, which is inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    sys.exit(not anyio.run(setup, Path(sys.argv[1]), lambda line: print(line, flush=True), (sys.argv[2],)))
except KeyboardInterrupt:
    sys.exit(130)
"""


@contextmanager
def set_up(cache: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a set-up in a second process until it compiles core."""
    argv = [sys.executable, "-c", SCRIPT, str(cache), BARE_METAL]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout
    try:
        for line in process.stdout:
            if "compiling" in line:
                break
        assert process.poll() is None, "set-up ended before it compiled anything"
        time.sleep(1)
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_locked(cache: Path) -> bool:
    with (cache / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def unfinished(cache: Path) -> list[Path]:
    return list((cache / "sysroots").glob(".unfinished-*"))


def built(toolchains: tuple[Toolchain, ...]) -> list[Toolchain]:
    return [toolchain for toolchain in toolchains if toolchain.targets.get(BARE_METAL) == "built"]


@pytest.fixture
def builder(
    toolchains: tuple[Toolchain, ...], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Toolchain:
    """A compiler with sources, as the only way to the target: rustup has no network."""
    put_on_path(tmp_path_factory.mktemp("bin") / "rustup", "echo 'error: no network' >&2; exit 1", monkeypatch)
    if any(came != "built" for one in toolchains if (came := one.targets.get(BARE_METAL))):
        pytest.skip(f"{BARE_METAL} came by rustup or the distribution: nothing would be built")
    able = [toolchain for toolchain in toolchains if can_build_core(toolchain)]
    if not able:
        pytest.skip("no compiler with its sources here")
    return able[-1]


@pytest.mark.slow
def test_killed_in_the_middle_it_leaves_nothing_in_use_and_can_be_repeated(
    tmp_path: Path, builder: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second one compiles for speed: `make setup` on this machine has shown that optimized libraries work.
    monkeypatch.setattr("app.toolchain.build._OVERRIDES", "\n[profile.release]\nopt-level = 0\n")
    predecessor = tmp_path / "sysroots" / f"{lineage(builder)}1.0.0-000000000"
    predecessor.mkdir(parents=True)
    with set_up(tmp_path) as process:
        orphans = children(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert orphans, "nothing was being built"
    assert built(anyio.run(discover, tmp_path)) == []
    assert unfinished(tmp_path)
    while is_locked(tmp_path):  # each program of the killed one holds the lock until it has ended
        time.sleep(0.01)
    lines: list[str] = []
    assert anyio.run(setup, tmp_path, lines.append, (BARE_METAL,), (BARE_METAL,))
    (toolchain,) = built(anyio.run(discover, tmp_path))
    assert toolchain.rustc.is_relative_to(tmp_path)
    anyio.run(prove, toolchain, BARE_METAL)
    assert unfinished(tmp_path) == []
    assert not predecessor.exists(), "libraries of a replaced compiler are rubbish"
    said = [line for line in lines if not line.startswith("  ")]
    order = ["Asking rustup", "Building core", f"Rust {toolchain.version} builds"]
    assert [line[: len(start)] for line, start in zip(said, order, strict=True)] == order
    assert "  rustup failed: no network" in lines


@pytest.mark.usefixtures("builder")
def test_interrupted_it_ends_the_build_and_cleans_up(tmp_path: Path) -> None:
    # Files above the cache folder are the user's and must not affect the build.
    (tmp_path / ".cargo").mkdir()
    (tmp_path / ".cargo/config.toml").write_text("not toml [")
    (tmp_path / "Cargo.toml").write_text("[workspace]\nmembers = []\n")
    cache = tmp_path / "cache"
    with set_up(cache) as process:
        (build,) = children(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    assert not Path(f"/proc/{build}").exists()
    assert not is_locked(cache)
    assert unfinished(cache) == []
    assert built(anyio.run(discover, cache)) == []


@pytest.mark.anyio
@pytest.mark.usefixtures("bare_metal")
@pytest.mark.parametrize("everything", [False, True], ids=["bare-metal", "all"])
async def test_a_second_one_is_quick_and_changes_nothing(
    shipped: Settings, lessons: dict[str, Lesson], *, everything: bool
) -> None:
    targets = [target for lesson in lessons.values() for target in lesson.targets] if everything else [BARE_METAL]
    tools = [tool for lesson in lessons.values() for tool in lesson.needs] if everything else []
    folders = [path for path in (shipped.cache_dir / "sysroots").rglob("*") if not path.is_symlink()]
    before = {path: path.stat().st_mtime_ns for path in folders}
    lines: list[str] = []
    began = time.monotonic()
    assert await setup(shipped.cache_dir, lines.append, tuple(dict.fromkeys(targets)))
    assert within(8, began)
    assert {path: path.stat().st_mtime_ns for path in folders} == before
    assert f"builds for {BARE_METAL}" in lines[0]
    assert len(lines) == len(set(targets)), "a line for each target, and no work"
    lacking = missing_tools(tools)  # a normal user cannot install packages
    assert await setup_tools(dict.fromkeys(tools), lines.append) is not bool(lacking)
    assert lacking or len(lines) == len(set(targets))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("only", "asked"),
    [(False, f"target add {BARE_METAL}"), (True, f"target add --toolchain=fresh {BARE_METAL}")],
)
async def test_rustup_is_asked_first_and_what_it_gives_is_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    toolchains: tuple[Toolchain, ...],
    shipped: Settings,
    only: bool,
    asked: str,
) -> None:
    able = built(toolchains)
    if not able:
        pytest.skip(f"no {BARE_METAL} was built here that could be handed out")
    compiler = replace(able[-1], rustc=able[-1].compiler)
    linker = find_lld(compiler)
    assert linker
    folder = tmp_path / "rustup/toolchains/fresh"
    create_sysroot(PrivateSysroot(folder), compiler, linker)
    (folder / "bin/cargo").symlink_to(compiler.cargo)
    core = place(compiler, shipped.cache_dir).target(BARE_METAL)
    monkeypatch.setenv("RUSTUP_HOME", str(tmp_path / "rustup"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    add = f'[ "$*" = "{asked}" ] && ln -s {core} {folder}/lib/rustlib/'
    put_on_path(tmp_path / "rustup/rustup", add, monkeypatch)
    lines: list[str] = []
    if only:
        assert await add_targets(tmp_path / "cache", lines.append, (BARE_METAL,), compiler.name) == ()
    else:
        assert await setup(tmp_path / "cache", lines.append, (BARE_METAL,))
    assert lines[0] == f"Asking rustup for the target: rustup {asked}"
    assert not [line for line in lines if "Building" in line or "Installing" in line]
    found = {toolchain.name: toolchain for toolchain in await discover(tmp_path / "cache")}
    assert found[compiler.name].targets[BARE_METAL] == "rustup"
    assert found[compiler.name].source == "rustup"


async def nothing_found(_cache: Path) -> Survey:
    return Survey(())


async def never(*_arguments: object) -> bool:
    pytest.fail("packages must not be touched without root")


@pytest.mark.anyio
async def test_a_normal_user_gets_one_command_and_nothing_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.toolchain.provision.survey", nothing_found)
    monkeypatch.setattr("app.toolchain.provision.rustup_program", lambda: None)
    monkeypatch.setattr(debian, "is_debian", lambda: True)
    monkeypatch.setattr(debian, "is_root", lambda: False)
    monkeypatch.setattr(debian, "install", never)
    monkeypatch.setattr(debian, "update", never)
    lines: list[str] = []
    assert not await setup(tmp_path, lines.append, (BARE_METAL,))
    (command,) = [line.removeprefix("To fix it: ") for line in lines if line.startswith("To fix it: ")]
    assert command.startswith("sudo apt-get ")
    assert "-src" in command
    assert " lld" in command
    assert any(BARE_METAL in line for line in lines)


@pytest.mark.anyio
async def test_packages_are_announced_to_root_before_they_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    asked: list[tuple[str, ...]] = []

    async def apt(arguments: list[str], _say: object, _cwd: object = None) -> bool:
        if arguments[0] == "install":
            packages = tuple(word for word in arguments[1:] if not word.startswith("-"))
            assert any(all(package in line for package in packages) for line in told)
            asked.append(packages)
        return False

    monkeypatch.setattr("app.toolchain.provision.survey", nothing_found)
    monkeypatch.setattr("app.toolchain.provision.rustup_program", lambda: None)
    monkeypatch.setattr(debian, "is_debian", lambda: True)
    monkeypatch.setattr(debian, "is_root", lambda: True)
    monkeypatch.setattr(debian, "has_lists", lambda: True)
    monkeypatch.setattr(debian, "compiler_packages", compiler_packages)
    monkeypatch.setattr(debian, "_apt", apt)
    assert not await setup(tmp_path, told.append, (BARE_METAL,))
    assert set(asked[0]) >= {"rustc", "cargo", "rust-src", "lld"}
    assert told[-1].startswith("To fix it: apt-get install "), "after a failure root is shown apt's own command"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("network", "lists", "asked"), [(True, True, True), (False, True, True), (False, False, False)]
)
async def test_old_package_lists_are_renewed_before_a_compiler_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, network: bool, lists: bool, asked: bool
) -> None:
    done: list[str] = []

    async def update(_say: object) -> bool:
        done.append("update")
        return network

    async def choose() -> tuple[str, ...]:
        done.append("choose")
        return ()

    monkeypatch.setattr("app.toolchain.provision.survey", nothing_found)
    monkeypatch.setattr("app.toolchain.provision.rustup_program", lambda: None)
    monkeypatch.setattr(debian, "is_debian", lambda: True)
    monkeypatch.setattr(debian, "is_root", lambda: True)
    monkeypatch.setattr(debian, "has_lists", lambda: lists)
    monkeypatch.setattr(debian, "update", update)
    monkeypatch.setattr("app.toolchain.provision.debian.compiler_packages", choose)
    monkeypatch.setattr("app.toolchain.provision._add_tools", nothing_added)
    assert not await setup(tmp_path, lambda _line: None, (BARE_METAL,))
    # One more search at the end reports what is missing.
    assert done == (["update", "choose", "choose"] if asked else ["update", "choose"])


async def nothing_added(*_: object) -> None:
    return None


async def compiler_packages() -> tuple[str, ...]:
    return ("rustc", "cargo", "rust-src", "lld")


@pytest.mark.anyio
async def test_elsewhere_than_on_debian_rustup_is_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "is_debian", lambda: False)
    monkeypatch.setattr("app.toolchain.needs.rustup_program", lambda: Path("rustup"))
    assert (await needs(Survey(()), (BARE_METAL,))).command == f"rustup target add {BARE_METAL}"
    monkeypatch.setattr("app.toolchain.needs.rustup_program", lambda: None)
    lacking = await needs(Survey(()), (BARE_METAL,))
    assert lacking.command is None
    assert lacking.fatal
    assert "There is no Rust compiler." in lacking.missing


@pytest.mark.anyio
@pytest.mark.usefixtures("bare_metal")
async def test_a_missing_host_linker_is_fatal_a_missing_look_up_tool_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shipped: Settings
) -> None:
    found = await survey(shipped.cache_dir)
    monkeypatch.setattr(debian, "is_debian", lambda: True)
    monkeypatch.setattr(debian, "is_root", lambda: False)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("cc", "readelf", "objdump", "nm", "size", "strings", "xxd", "hexdump"):
        (tmp_path / name).write_text("#!/bin/sh\necho /elf32-littlearm\n")
        (tmp_path / name).chmod(0o755)
    lacking = await needs(found, (BARE_METAL,))
    assert lacking.packages == ("file",)
    assert not lacking.fatal
    (tmp_path / "cc").write_text("#!/bin/sh\necho crt1.o\n")
    assert (await needs(found, (BARE_METAL,))).fatal, "a compiler without the C library links nothing"
    (tmp_path / "cc").unlink()
    lacking = await needs(found, (BARE_METAL,))
    assert lacking.packages == ("gcc", "libc6-dev", "file")
    assert lacking.fatal
    (tmp_path / "objdump").write_text("#!/bin/sh\necho elf64-x86-64 only\n")
    assert "binutils-multiarch" in (await needs(found, (BARE_METAL,))).packages


@pytest.mark.anyio
async def test_a_cache_folder_that_cannot_be_created_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.toolchain.provision.survey", nothing_found)
    (tmp_path / "file").touch()
    lines: list[str] = []
    assert not await setup(tmp_path / "file/cache", lines.append, (BARE_METAL,))
    assert any("cannot be used" in line for line in lines)


@pytest.mark.anyio
async def test_two_set_ups_take_turns(tmp_path: Path) -> None:
    order: list[str] = []

    async def second() -> None:
        async with locked(tmp_path, order.append):
            order.append("second")

    async with anyio.create_task_group() as tasks, locked(tmp_path, order.append):
        tasks.start_soon(second)
        await eventually_async(lambda: order)
        await anyio.sleep(0.2)
        order.append("first")
    assert "Waiting" in order[0]
    assert order[1:] == ["first", "second"]


@pytest.mark.anyio
async def test_the_distribution_offers_compiler_and_sources_of_one_version() -> None:
    if not debian.is_debian() or not debian.has_lists():
        pytest.skip("no package lists here")
    packages = await debian.compiler_packages()
    versions = await debian.offered(packages)
    assert packages[-1] == "lld"
    assert versions[packages[0]] == versions[packages[2]] >= debian.OLDEST


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("plain", "recent", "sources", "chosen"),
    [
        ((1, 63, 0), (1, 96, 0), (1, 96, 0), "rustc-web"),
        ((1, 85, 0), (1, 96, 0), (1, 96, 0), "rustc-web"),
        ((1, 97, 0), (1, 96, 0), (1, 96, 0), "rustc"),
        ((1, 63, 0), (1, 96, 0), (1, 95, 0), None),
        ((1, 63, 0), (1, 70, 0), (1, 70, 0), None),
    ],
)
async def test_the_newest_compiler_whose_sources_match_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
    plain: tuple[int, ...],
    recent: tuple[int, ...],
    sources: tuple[int, ...],
    chosen: str | None,
) -> None:
    async def offered(_names: object) -> dict[str, tuple[int, ...]]:
        return {"rustc": plain, "rust-src": plain, "rustc-web": recent, "rust-web-src": sources}

    monkeypatch.setattr(debian, "has_lists", lambda: True)
    monkeypatch.setattr(debian, "offered", offered)
    packages = await debian.compiler_packages()
    assert (packages[0] if packages else None) == chosen


def test_sources_without_their_dependencies_need_a_network(builder: Toolchain, tmp_path: Path) -> None:
    assert can_build_core(builder)
    sources = tmp_path / "lib/rustlib/src/rust/library/core/src/lib.rs"
    sources.parent.mkdir(parents=True)
    sources.touch()
    assert not can_build_core(replace(builder, sysroot=tmp_path))
    (tmp_path / "lib/rustlib/src/rust/vendor").mkdir()
    assert can_build_core(replace(builder, sysroot=tmp_path))


def test_lists_that_only_debootstrap_left_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "_LISTS", tmp_path)
    (tmp_path / "debootstrap.invalid_dists_bookworm_main_binary-amd64_Packages").touch()
    assert not debian.has_lists()
    (tmp_path / "archive_dists_bookworm_main_binary-amd64_Packages").touch()
    assert debian.has_lists()


def test_the_command_says_sudo_and_update_only_where_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {
        (True, True): "apt-get install --no-install-recommends a b",
        (False, True): "sudo apt-get install --no-install-recommends a b",
        (False, False): "sudo apt-get update && sudo apt-get install --no-install-recommends a b",
    }
    for (root, lists), command in cases.items():
        monkeypatch.setattr(debian, "is_root", lambda root=root: root)
        monkeypatch.setattr(debian, "has_lists", lambda lists=lists: lists)
        assert debian.install_command(("a", "b")) == command


@pytest.mark.anyio
async def test_without_the_old_compiler_a_sentence_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if any(toolchain.name == "1.63" for toolchain in await discover(tmp_path)):
        pytest.skip("this machine's own compiler is 1.63")
    monkeypatch.setattr(debian, "is_debian", lambda: False)
    lines: list[str] = []
    assert not await setup_era(tmp_path, lines.append)
    assert len(lines) == 1
    assert not (tmp_path / "era").exists()


@pytest.mark.anyio
async def test_the_old_compiler_is_not_fetched_twice(shipped: Settings, toolchains: tuple[Toolchain, ...]) -> None:
    if not any(toolchain.name == "1.63" for toolchain in toolchains):
        pytest.skip("no Rust 1.63 here; playground setup --era provides it on Debian 12")
    lines: list[str] = []
    assert await setup_era(shipped.cache_dir, lines.append)
    assert lines == []


@pytest.mark.anyio
async def test_several_targets_are_built_at_once_and_a_failure_does_not_stop_the_others(
    tmp_path: Path, builder: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    there: set[str] = set()

    async def build(_toolchain: Toolchain, targets: tuple[str, ...], *_: object) -> None:
        asked.append(targets)
        if "broken" in targets:
            raise BuildError(f"core could not be built for {' and '.join(targets)}")
        there.update(targets)

    async def proven(_found: Survey, target: str, _say: object) -> bool:
        return target in there

    monkeypatch.setattr("app.toolchain.provision.build_targets", build)
    monkeypatch.setattr("app.toolchain.provision._proven", proven)
    monkeypatch.setattr(debian, "install", never)
    lines: list[str] = []
    assert await add_targets(tmp_path, lines.append, ("one", "two")) == ()
    assert await add_targets(tmp_path, lines.append, ("broken", "three")) == ("broken",)
    assert asked == [("one", "two"), ("broken", "three"), ("broken",), ("three",)]
    assert there == {"one", "two", "three"}
    assert f"Building core for one two once, from the sources of Rust {builder.version}" in "\n".join(lines)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("checkout", "on_path", "setup_command"),
    [(True, False, "make setup"), (True, True, "playground setup"), (False, False, "playground setup")],
)
async def test_the_command_is_one_that_the_user_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, checkout: bool, on_path: bool, setup_command: str
) -> None:
    if checkout:
        (tmp_path / "Makefile").touch()
    monkeypatch.setattr("app.toolchain.needs._MAKEFILE", tmp_path / "Makefile")
    monkeypatch.setattr("app.toolchain.needs.shutil.which", lambda name: name if on_path or name == "cc" else None)
    monkeypatch.setattr(debian, "is_debian", lambda: True)
    monkeypatch.setattr(debian, "is_root", lambda: True)
    monkeypatch.setattr(debian, "compiler_packages", compiler_packages)
    assert (await needs(Survey(()), (BARE_METAL,))).command == setup_command
