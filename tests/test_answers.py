"""Answers without a process: the crate's own files, and why a command cannot start."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.protocol.command import parse
from app.run.answers import Answer, answer, reason_not_to_start
from app.toolchain import Toolchain

FILES = {"Cargo.toml": "[package]\n", "src/main.rs": "fn main() {}\n", ".cargo/config.toml": "[build]\n"}
BUILT = "target/debug/kernel"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pwd", Answer("/tmp/kernel\n")),
        ("ls", Answer(".cargo/\nCargo.toml\nsrc/\ntarget/\n")),
        ("ls -la .", Answer(".cargo/\nCargo.toml\nsrc/\ntarget/\n")),
        ("ls src", Answer("main.rs\n")),
        ("ls ./src/", Answer("main.rs\n")),
        ("ls target/debug", Answer("kernel\n")),
        ("ls Cargo.toml", Answer("Cargo.toml\n")),
        ("ls nothing", Answer("ls: nothing: No such file or folder\n", 2)),
        ("ls sr", Answer("ls: sr: No such file or folder\n", 2)),
        ("cat src/main.rs", Answer("fn main() {}\n")),
        ("cat ./src/main.rs Cargo.toml", Answer("fn main() {}\n[package]\n")),
        ("cat main.rs", Answer("cat: main.rs: No such file; there is src/main.rs\n", 1)),
        ("cat Cargo.lock", Answer("cat: Cargo.lock: No such file\n", 1)),
    ],
)
def test_the_crates_own_files_are_shown(line: str, expected: Answer) -> None:
    assert answer(parse(line), FILES, BUILT, "/tmp/kernel") == expected


def test_help_lists_commands_with_the_crates_name() -> None:
    assert "target/debug/kernel" in answer(parse("help"), FILES, None, "/tmp/kernel").text


def test_a_path_that_nothing_was_built_at_is_named(toolchains: tuple[Toolchain, ...]) -> None:
    other = "target/thumbv7em-none-eabihf/debug/kernel"
    for line in ("target/debug/kernel", "./target/debug/kernel", "readelf -h target/debug/kernel"):
        said = reason_not_to_start(parse(line), toolchains[0], other)
        assert said
        assert said == f"There is no target/debug/kernel: the last build put its program into {other}."
        assert reason_not_to_start(parse(line), toolchains[0], "target/debug/kernel") is None
    assert reason_not_to_start(parse("ls target/debug"), toolchains[0], other) is None
    assert reason_not_to_start(parse("cargo build"), toolchains[0], other) is None


def test_a_component_that_is_missing_is_named(toolchains: tuple[Toolchain, ...], tmp_path: Path) -> None:
    without = replace(toolchains[0], cargo=tmp_path / "cargo")
    assert "is installed without clippy" in (reason_not_to_start(parse("cargo clippy"), without, None) or "")
    assert "is installed without rustfmt" in (reason_not_to_start(parse("cargo fmt"), without, None) or "")
    for name in ("cargo-fmt", "rustfmt"):
        (tmp_path / name).touch()
    assert reason_not_to_start(parse("cargo fmt"), without, None) is None
    assert reason_not_to_start(parse("cargo build"), without, None) is None
