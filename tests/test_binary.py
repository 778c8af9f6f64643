"""The facts read from real and damaged binaries."""

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.binary import BinaryFacts, NotABinaryError
from app.binary.model import text
from app.binary.reading import inspect
from app.toolchain import Toolchain
from tests.support.programs import BARE, compile_with, for_macos, for_windows


def inspected(data: bytes) -> BinaryFacts:
    return inspect(io.BytesIO(data))


@pytest.fixture(scope="module")
def std_program(toolchain: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compile_with(toolchain, tmp_path_factory.mktemp("std"), 'fn main() { println!("hi"); }', "-g")


def test_a_std_program_shows_the_c_runtime(std_program: bytes) -> None:
    facts = inspected(std_program)
    assert (facts.format, facts.entry_symbol) == ("ELF", "_start")
    assert any(name.startswith("libc.so") for name in facts.needed)
    assert facts.interpreter
    assert "__libc_start_main" in facts.runtime


def test_a_static_std_program_shows_the_c_runtime_too(toolchain: Toolchain, tmp_path: Path) -> None:
    facts = inspected(compile_with(toolchain, tmp_path, "fn main() {}", "-Ctarget-feature=+crt-static"))
    assert (facts.entry_symbol, facts.needed, facts.interpreter) == ("_start", (), None)
    assert "__libc_start_main" in facts.runtime


def test_std_with_a_custom_start_still_shows_the_c_runtime(toolchain: Toolchain, tmp_path: Path) -> None:
    source = '#![no_main]\n#[no_mangle] pub extern "C" fn _start() -> ! { println!("hi"); loop {} }\n'
    flags = ("-Ctarget-feature=+crt-static", "-Clink-arg=-nostartfiles")
    facts = inspected(compile_with(toolchain, tmp_path, source, *flags))
    assert (facts.entry_symbol, facts.needed, facts.interpreter) == ("_start", (), None)
    assert facts.runtime


def test_a_freestanding_program_shows_no_c_runtime(toolchain: Toolchain, tmp_path: Path) -> None:
    facts = inspected(compile_with(toolchain, tmp_path, BARE % "_start", "-Cpanic=abort", "-Clink-arg=-nostartfiles"))
    assert (facts.entry_symbol, facts.needed, facts.runtime) == ("_start", (), ())


def test_the_bare_metal_binary(bare_metal: Toolchain, tmp_path: Path) -> None:
    flags = ("-Cpanic=abort", "--target", "thumbv7em-none-eabihf")
    facts = inspected(compile_with(bare_metal, tmp_path, BARE % "_start", *flags))
    assert (facts.format, facts.machine, facts.entry_symbol) == ("ELF", "ARM", "_start")
    assert (facts.needed, facts.interpreter, facts.runtime) == ((), None, ())
    wrong = inspected(compile_with(bare_metal, tmp_path, BARE % "_begin", *flags))
    assert (wrong.entry, wrong.entry_symbol) == (0, None)


@pytest.mark.parametrize("subsystem", ["console", "windows"])
def test_a_program_for_windows(bare_metal: Toolchain, tmp_path: Path, subsystem: str) -> None:
    facts = inspected(for_windows(bare_metal, tmp_path, f"-Clink-arg=/SUBSYSTEM:{subsystem}"))
    assert (facts.format, facts.machine, facts.subsystem) == ("PE", "x86-64", subsystem)
    assert (facts.entry, facts.entry_symbol) == (0x140001000, None)
    assert (facts.needed, facts.interpreter, facts.runtime) == ((), None, ())


@pytest.mark.parametrize(
    ("triple", "machine"), [("x86_64-apple-darwin", "x86-64"), ("aarch64-apple-darwin", "AArch64")]
)
def test_a_program_for_macos(bare_metal: Toolchain, tmp_path: Path, triple: str, machine: str) -> None:
    facts = inspected(for_macos(bare_metal, tmp_path, triple))
    assert (facts.format, facts.machine, facts.entry_symbol) == ("Mach-O", machine, "__start")
    assert facts.entry
    assert facts.entry > 0x100000000
    assert (facts.needed, facts.interpreter, facts.runtime) == ((), "/usr/lib/dyld", ())
    assert facts.subsystem is None


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF" + b"\xff" * 100])
def test_a_file_that_is_not_a_binary_is_refused(data: bytes) -> None:
    with pytest.raises(NotABinaryError):
        inspected(data)


@settings(max_examples=60, deadline=2000)
@given(data=st.data())
def test_damage_is_refused_or_read_but_never_a_crash(std_program: bytes, data: st.DataObject) -> None:
    damaged = bytearray(std_program[: data.draw(st.integers(0, len(std_program)))])
    for _ in range(data.draw(st.integers(0, 8))):
        if damaged:
            damaged[data.draw(st.integers(0, min(len(damaged), 4096) - 1))] = data.draw(st.integers(0, 255))
    try:
        inspected(bytes(damaged))
    except NotABinaryError as error:
        said = str(error)
        assert said


def test_invisible_characters_in_a_name_are_replaced() -> None:
    assert text(b"_start\x1b[31m\xe2\x80\xae\0") == "_start\ufffd[31m\ufffd\ufffd"
    assert text("core::fmt::Formatter<'_> \u00e9") == "core::fmt::Formatter<'_> \u00e9"
