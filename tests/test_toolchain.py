"""Finding compilers: all of them, by their real programs, under unique names, past broken ones."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.settings import Settings
from app.toolchain import Toolchain, build_env, discover, preferred, survey
from app.toolchain.process import NOT_STARTED, TIMED_OUT, capture, stream
from bench.pace import pace
from tests.support.polling import eventually

HOST = "x86_64-unknown-linux-gnu"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without rustup; the distribution's Rust stays visible."""
    for name in ("RUSTUP_HOME", "CARGO_HOME", "RUSTUP_TOOLCHAIN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return tmp_path


def program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def fake(folder: Path, rustc: str, cargo: str | None = None, targets: tuple[str, ...] = (HOST,)) -> Path:
    """Create a folder with programs that report these versions."""
    program(folder / "bin/rustc", f"echo release: {rustc}; echo host: {HOST}; echo commit-hash: 0123456789abcdef")
    program(folder / "bin/cargo", f"echo release: {cargo or rustc}")
    for target in targets:
        library = folder / "lib/rustlib" / target / "lib/libcore-0.rlib"
        library.parent.mkdir(parents=True)
        library.touch()
    return folder


@pytest.mark.anyio
async def test_every_toolchain_has_a_unique_name_and_two_programs(
    toolchains: tuple[Toolchain, ...],
) -> None:
    names = [toolchain.name for toolchain in toolchains]
    assert len(names) == len(set(names))
    for toolchain in toolchains:
        assert toolchain.name == ".".join(toolchain.version.split(".")[:2])
        assert toolchain.cargo.resolve().name == "cargo", "a shim of rustup's was taken for cargo"
        answer = await capture([toolchain.rustc, "-vV"], env=dict(toolchain.env))
        assert f"release: {toolchain.version}" in answer.output.splitlines()
        answer = await capture([toolchain.cargo, "-vV"], env=dict(toolchain.env))
        assert f"release: {toolchain.cargo_version}" in answer.output.splitlines()
        assert toolchain.can_build(None)
        assert not toolchain.can_build("no-such-target")


@pytest.mark.anyio
async def test_looking_is_fast(shipped: Settings) -> None:
    best = 60.0
    for _ in range(5):
        began = time.monotonic()
        await discover(shipped.cache_dir)
        best = min(best, time.monotonic() - began)
    assert best < 0.5 * pace()


@pytest.mark.anyio
async def test_rustups_folder_is_read_also_without_rustup(elsewhere: Path) -> None:
    folder = fake(elsewhere / ".rustup/toolchains/stable", "1.201.0", targets=(HOST, "riscv32imac-unknown-none-elf"))
    found = {toolchain.name: toolchain for toolchain in await discover(elsewhere / "cache")}
    assert found["1.201"].cargo == folder / "bin/cargo"
    assert found["1.201"].source == "rustup"
    assert found["1.201"].targets == {HOST: "shipped", "riscv32imac-unknown-none-elf": "rustup"}


@pytest.mark.anyio
async def test_rustup_home_moves_that_folder(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(elsewhere / "moved/toolchains/nightly", "1.202.0-nightly")
    monkeypatch.setenv("RUSTUP_HOME", str(elsewhere / "moved"))
    found = {toolchain.name: toolchain for toolchain in await discover(elsewhere / "cache")}
    assert not found["1.202"].stable


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "copy"])
async def test_a_shim_on_the_path_is_no_toolchain(elsewhere: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    folder = fake(elsewhere / "cargo-home", "1.203.0") / "bin"
    shutil.move(folder / "rustc", folder / "rustup")
    (folder / "cargo").unlink()
    kinds: dict[str, Callable[[Path, Path], object]] = {
        "symbolic link": os.symlink,
        "hard link": os.link,
        "copy": shutil.copy2,
    }
    for name in ("rustc", "cargo"):
        kinds[kind](folder / "rustup", folder / name)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    found = await survey(elsewhere / "cache")
    assert all(folder not in toolchain.compiler.parents for toolchain in found.everyone)
    assert all(folder not in flaw.path.parents for flaw in found.flaws)


@pytest.mark.anyio
async def test_programs_on_the_path_that_point_elsewhere_are_followed(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fake(elsewhere / "real", "1.204.0")
    program(elsewhere / "shims/rustc", f'[ "$1" = --print ] && echo {real} || exit 3')
    program(elsewhere / "shims/cargo", "exit 3")
    monkeypatch.setenv("PATH", f"{elsewhere / 'shims'}:/usr/bin:/bin")
    found = {toolchain.name: toolchain for toolchain in await discover(elsewhere / "cache")}
    assert found["1.204"].compiler == real / "bin/rustc"


@pytest.mark.anyio
async def test_what_is_broken_is_named_and_hinders_nothing(elsewhere: Path) -> None:
    toolchains = elsewhere / ".rustup/toolchains"
    fake(toolchains / "good", "1.205.0")
    fake(toolchains / "mixed", "1.206.0", cargo="1.205.0")
    fake(toolchains / "bare", "1.207.0", targets=())
    (toolchains / "bare/lib/rustlib").mkdir(parents=True)
    (fake(toolchains / "halved", "1.208.0") / "bin/cargo").unlink()
    program(fake(toolchains / "crashing", "1.209.0") / "bin/rustc", "echo cannot start >&2; exit 1")
    fake(toolchains / "odd", "1.210.0")
    (toolchains / "odd/bin/rustc").write_bytes(b"\x00 no program")
    found = await survey(elsewhere / "cache")
    names = {toolchain.name for toolchain in found.toolchains}
    assert "1.205" in names
    assert not names & {"1.206", "1.207", "1.208", "1.209", "1.210"}
    reasons = {flaw.path.parts[-3]: flaw.reason for flaw in found.flaws}
    assert set(reasons) == {"mixed", "bare", "halved", "crashing", "odd"}
    assert "rustc 1.206.0 and cargo 1.205.0" in reasons["mixed"]
    assert "cannot start" in reasons["crashing"]
    assert all(reason.count("\n") == 0 for reason in reasons.values())


@pytest.mark.anyio
async def test_of_two_with_one_name_the_one_with_more_targets_is_offered(elsewhere: Path) -> None:
    toolchains = elsewhere / ".rustup/toolchains"
    fake(toolchains / "a-plain", "1.211.1")
    richer = fake(toolchains / "b-richer", "1.211.0", targets=(HOST, "thumbv6m-none-eabi"))
    fake(toolchains / "c-plain", "1.211.1")
    found = await survey(elsewhere / "cache")
    assert [one.compiler for one in found.toolchains if one.name == "1.211"] == [richer / "bin/rustc"]
    assert len([one for one in found.shadowed if one.name == "1.211"]) == 2


@pytest.mark.anyio
async def test_no_home_and_no_path_are_no_error(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setenv("PATH", "")
    in_usr_bin = Path("/usr/bin/rustc").exists() and Path("/usr/bin/cargo").exists()
    found = await survey(elsewhere / "cache")
    assert any(one.compiler == Path("/usr/bin/rustc") for one in found.everyone) == in_usr_bin


@pytest.mark.anyio
async def test_what_answers_only_in_the_users_environment_is_not_offered(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fake(elsewhere / ".rustup/toolchains/shy", "1.212.0") / "bin"
    program(folder / "cargo", '[ "$SHY" ] && echo release: 1.212.0')
    monkeypatch.setenv("SHY", "yes")
    found = await survey(elsewhere / "cache")
    assert [flaw.path for flaw in found.flaws if flaw.path.parent == folder] == [folder / "rustc"]


def simple(version: str, *targets: str) -> Toolchain:
    name, here = ".".join(version.split(".")[:2]), Path("/nowhere")
    came = dict.fromkeys((HOST, *targets), "shipped")
    return Toolchain(name, version, "-" not in version, "system", HOST, here, here, here, here, came)  # type: ignore[arg-type]  # its origins, as text


@pytest.mark.parametrize(
    ("toolchains", "target", "name"),
    [
        ((simple("1.9.0"), simple("1.63.0"), simple("1.100.0")), None, "1.100"),
        ((simple("1.96.0", "t"), simple("1.97.0")), "t", "1.96"),
        ((simple("1.96.0"), simple("1.97.0-nightly")), None, "1.96"),
        ((simple("1.96.0"), simple("1.97.0-nightly", "t")), "t", "1.97"),
        ((simple("1.96.0"), simple("1.95.0")), "t", "1.96"),
    ],
)
def test_the_newest_stable_capable_toolchain_is_preferred(
    toolchains: tuple[Toolchain, ...], target: str | None, name: str
) -> None:
    for order in (toolchains, toolchains[::-1]):
        chosen = preferred(order, target)
        assert chosen
        assert chosen.name == name


def test_preferred_is_of_the_range_that_a_lesson_is_about_if_one_is_there() -> None:
    found = (simple("1.96.0"), simple("1.63.0"), simple("1.60.0"))
    assert preferred(found, None, versions="<1.77") is found[1]
    assert preferred(found[:1], None, versions="<1.77") is found[0]
    assert preferred(found, None) is found[0]


def test_without_toolchains_none_is_preferred() -> None:
    assert preferred((), None) is None


def test_the_environment_of_a_build_holds_nothing_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTUP_TOOLCHAIN", "RUSTUP_HOME", "CARGO_HOME", "SECRET"):
        monkeypatch.setenv(name, "x")
    env = build_env(simple("1.96.0"), tmp_path, tmp_path / "target")
    assert not {"RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "SECRET"} & set(env)
    assert not [name for name in env if name.startswith("RUSTUP_")]
    assert Path(env["CARGO_HOME"]).is_relative_to(tmp_path)
    assert Path(env["HOME"]).is_relative_to(tmp_path)
    assert env["CARGO_TARGET_DIR"] == str(tmp_path / "target")


@pytest.mark.anyio
async def test_a_program_that_takes_too_long_ends_with_all_it_started() -> None:
    lines: list[str] = []
    code = await stream(["sh", "-c", "sleep 600 & echo $!; wait"], lines.append, seconds=0.5 * pace())
    assert code == TIMED_OUT
    assert ends(lines[0])


def ends(pid: str) -> bool:
    """Return True once the process has ended. On a busy machine a killed one may take a moment to disappear."""

    def has_ended() -> bool:
        try:
            return "zombie" in Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return True

    return eventually(has_ended)


KILLED = """
import anyio
from app.toolchain.process import stream

async def main():
    await stream(["sh", "-c", "sleep 600 & echo $!; wait"], lambda line: print(line, flush=True), tied=True)

anyio.run(main)
"""


def test_a_tied_program_ends_with_all_it_started_when_its_server_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        pid = server.stdout.readline().strip()
        server.kill()
    assert ends(pid)


@pytest.mark.anyio
async def test_a_tied_program_has_its_own_output_and_exit_code() -> None:
    lines: list[str] = []
    assert await stream(["sh", "-c", 'echo "$@"; exit 3', "sh", "a b", "$c"], lines.append, tied=True) == 3
    assert lines == ["a b $c"]
    assert await stream(["/no/such/program"], lines.append, tied=True) == NOT_STARTED
    assert "/no/such/program" in lines[-1]


@pytest.mark.anyio
async def test_output_is_split_at_every_kind_of_line_end() -> None:
    result = await capture(["printf", "a\\r\\nb\\rc\\nd"])
    assert result.output.split("\n") == ["a", "b", "c", "d"]
    assert result.code == 0


@pytest.mark.anyio
async def test_a_missing_program_is_reported() -> None:
    result = await capture(["/no/such/program"])
    assert result.code == NOT_STARTED
    assert "/no/such/program" in result.output
