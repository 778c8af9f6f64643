"""Programs compiled by the real toolchains for Linux, bare metal, Windows and macOS."""

import io
import subprocess
from pathlib import Path

from app.binary import Card
from app.binary.reading import examine
from app.toolchain import Toolchain, build_env

BARE = """#![no_std]
#![no_main]
#[no_mangle] pub extern "C" fn %s() -> ! { loop {} }
#[panic_handler] fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
"""

FOREIGN = """#![feature(no_core, lang_items)]
#![no_core]
#![no_main]
#[lang = "pointee_sized"] pub trait PointeeSized {}
#[lang = "meta_sized"] pub trait MetaSized: PointeeSized {}
#[lang = "sized"] pub trait Sized: MetaSized {}
#[no_mangle] pub extern "C" fn _start() -> ! { loop {} }
"""
"""A source that needs no ``core``, so that it compiles for every target."""


def compile_with(toolchain: Toolchain, folder: Path, source: str, *flags: str) -> bytes:
    folder.mkdir(exist_ok=True)
    (folder / "main.rs").write_text(source)
    command = [str(toolchain.rustc), "main.rs", "-o", "out", "--edition=2021", *flags]
    env = build_env(toolchain, folder) | {"RUSTC_BOOTSTRAP": "1"}
    subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True)
    return (folder / "out").read_bytes()


def for_windows(toolchain: Toolchain, folder: Path, *flags: str) -> bytes:
    linker = ("-Clinker=rust-lld", "-Clink-args=/ENTRY:_start /NODEFAULTLIB", *flags)
    return compile_with(toolchain, folder, FOREIGN, "--target", "x86_64-pc-windows-msvc", "-Cpanic=abort", *linker)


def for_macos(toolchain: Toolchain, folder: Path, triple: str, *flags: str) -> bytes:
    linker = ("-Clinker=rust-lld", "-Clinker-flavor=ld64.lld", "-Clink-args=-e __start -static", *flags)
    return compile_with(toolchain, folder, FOREIGN, "--target", triple, "-Cpanic=abort", *linker)


def card_of(data: bytes, *companions: bytes) -> Card:
    return examine(io.BytesIO(data), companions=[io.BytesIO(one) for one in companions])


def for_windows_with_lines(toolchain: Toolchain, folder: Path) -> tuple[bytes, bytes]:
    data = for_windows(toolchain, folder, "-Clink-arg=/SUBSYSTEM:console", "-g")
    [pdb] = folder.glob("*.pdb")
    return data, pdb.read_bytes()


def for_macos_with_lines(toolchain: Toolchain, folder: Path, triple: str) -> tuple[bytes, ...]:
    data = for_macos(toolchain, folder, triple, "-g", "-Csplit-debuginfo=unpacked")
    return data, *(one.read_bytes() for one in folder.glob("*.o"))
