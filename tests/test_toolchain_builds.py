"""Builds with this machine's toolchains: one compiler for each build, and the private sysroot in use."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from app.settings import Settings
from app.toolchain import Toolchain, build_env, discover
from app.toolchain.build import BuildError, build_targets, prove
from app.toolchain.process import capture
from app.toolchain.sysroot import PrivateSysroot, create_sysroot, place, refresh, with_built_targets
from tests.support.environment import BARE_METAL

MANIFEST = (
    '[package]\nname = "blog_os"\nversion = "0.1.0"\nedition = "2018"\n[profile.dev]\npanic = "abort"\n[workspace]\n'
)
HELLO = 'fn main() {\n    println!("hello");\n}\n'
BARE = """#![no_std]
#![no_main]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
#[no_mangle]
pub extern "C" fn _start() -> ! {
    loop {}
}
"""
ALLOCATING = """#![no_std]
#![no_main]
extern crate alloc;
use core::alloc::{GlobalAlloc, Layout};
extern "C" {
    fn memcpy(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8;
}
struct Nothing;
unsafe impl GlobalAlloc for Nothing {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 { core::ptr::null_mut() }
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}
#[global_allocator]
static HEAP: Nothing = Nothing;
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! { loop {} }
// The compiler's own glue for allocators names it in a table that linker scripts for boards throw away.
#[no_mangle]
pub extern "C" fn __aeabi_unwind_cpp_pr0() {}
#[no_mangle]
pub extern "C" fn _start() -> ! {
    let mut bytes = alloc::vec::Vec::new();
    bytes.extend_from_slice(&[1u8; 1000]);
    core::hint::black_box((bytes, memcpy as usize));
    loop {}
}
"""


@pytest.fixture
def built(toolchains: tuple[Toolchain, ...]) -> Toolchain:
    """A toolchain whose bare-metal target set-up has built."""
    able = [one for one in toolchains if one.targets.get(BARE_METAL) == "built"]
    if not able:
        pytest.skip(f"no {BARE_METAL} was built here: rustup or the distribution provided it")
    return able[0]


@pytest.fixture
def moved(built: Toolchain, shipped: Settings, tmp_path: Path) -> Toolchain:
    """The same toolchain with a copy of its private sysroot that a test may damage."""
    original = place(built, shipped.cache_dir).folder
    shutil.copytree(original, tmp_path / "sysroots" / original.name, symlinks=True)
    return with_built_targets(own(built), tmp_path)


def own(toolchain: Toolchain) -> Toolchain:
    """The toolchain without the targets that set-up has built."""
    targets = {name: came for name, came in toolchain.targets.items() if came != "built"}
    return replace(toolchain, rustc=toolchain.compiler, targets=targets)


async def cargo(toolchain: Toolchain, folder: Path, code: str, *arguments: str, manifest: str = MANIFEST) -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "src/main.rs").write_text(code)
    (folder / "Cargo.toml").write_text(manifest)
    (folder / "home").mkdir()
    env = build_env(toolchain, folder / "home")
    result = await capture([toolchain.cargo, "build", "-vv", *arguments], env=env, cwd=folder, seconds=60)
    assert result.code == 0, result.output
    return folder / "target"


def compilers_in(program: Path) -> set[str]:
    """Return the releases of the compilers named in a binary's notes or debug information."""
    return {found.decode() for found in re.findall(rb"rustc version (\d+\.\d+\.\d+[^\s()\0]*)", program.read_bytes())}


def compilers_asked(target: Path) -> set[str]:
    """Return the releases of the compilers that cargo asked for their version."""
    outputs = json.loads((target / ".rustc_info.json").read_text())["outputs"].values()
    lines = [line for output in outputs for line in output["stdout"].splitlines()]
    return {line.removeprefix("release: ") for line in lines if line.startswith("release: ")}


@pytest.mark.anyio
async def test_no_build_mixes_two_compilers(
    toolchains: tuple[Toolchain, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for toolchain in toolchains:
        other = next((one for one in toolchains if one is not toolchain), toolchain)
        monkeypatch.setenv("PATH", f"{other.compiler.parent}:{os.environ['PATH']}")
        monkeypatch.setenv("RUSTC", str(other.compiler))
        monkeypatch.setenv("RUSTUP_TOOLCHAIN", "none-such")
        target = await cargo(toolchain, tmp_path / toolchain.name, HELLO)
        assert compilers_asked(target) == {toolchain.version}
        # The compiler links its own standard library; that of another compiler would not load.
        assert compilers_in(target / "debug/blog_os") == {toolchain.version}


@pytest.mark.anyio
async def test_a_configuration_cannot_bring_another_compiler(toolchains: tuple[Toolchain, ...], tmp_path: Path) -> None:
    if len(toolchains) == 1:
        pytest.skip("only one toolchain here")
    one, other = toolchains[-1], toolchains[0]
    (tmp_path / "crate/.cargo").mkdir(parents=True)
    (tmp_path / "crate/.cargo/config.toml").write_text(f"[build]\nrustc = '{other.compiler}'\n")
    target = await cargo(one, tmp_path / "crate", HELLO)
    assert compilers_asked(target) == {one.version}


@pytest.mark.anyio
async def test_one_wrapper_builds_for_host_and_bare_metal(built: Toolchain, tmp_path: Path) -> None:
    assert built.rustc != built.compiler
    target = await cargo(built, tmp_path / "bare", BARE, "--target", BARE_METAL)
    assert compilers_asked(target) == {built.version}
    with (target / BARE_METAL / "debug/blog_os").open("rb") as file:
        program = ELFFile(file)
        assert program["e_machine"] == "EM_ARM"
        assert program["e_entry"] != 0
    target = await cargo(built, tmp_path / "host", HELLO)
    assert (await capture([target / "debug/blog_os"])).output == "hello"


@pytest.mark.anyio
async def test_the_wrapper_works_from_anywhere_and_says_its_sysroot(moved: Toolchain, tmp_path: Path) -> None:
    folder = place(moved, tmp_path).folder
    assert moved.rustc == folder / "bin/rustc"
    answer = await capture([moved.rustc, "--print", "sysroot"], cwd=Path("/"), env={})
    assert answer.output == str(folder)
    await prove(moved, BARE_METAL)


@pytest.mark.anyio
async def test_a_cache_that_cannot_be_written_is_enough(moved: Toolchain, tmp_path: Path) -> None:
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    await prove(moved, BARE_METAL)
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.anyio
async def test_a_relative_cache_folder_gives_an_absolute_compiler(
    moved: Toolchain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (found,) = [one for one in await discover(Path()) if one.name == moved.name]
    assert found.rustc == moved.rustc


def test_without_a_built_target_the_compiler_itself_is_used(built: Toolchain, tmp_path: Path) -> None:
    assert with_built_targets(own(built), tmp_path).rustc == built.compiler


def test_a_target_that_was_built_in_another_way_is_built_anew(moved: Toolchain, tmp_path: Path) -> None:
    assert moved.targets[BARE_METAL] == "built"
    (place(moved, tmp_path).target(BARE_METAL) / "recipe").write_text("1")
    assert not with_built_targets(own(moved), tmp_path).can_build(BARE_METAL)


@pytest.mark.anyio
async def test_link_time_optimization_works_as_with_libraries_of_rustup(built: Toolchain, tmp_path: Path) -> None:
    manifest = f'{MANIFEST}[profile.release]\npanic = "abort"\nlto = true\n'
    target = await cargo(built, tmp_path, BARE, "--release", "--target", BARE_METAL, manifest=manifest)
    assert (target / BARE_METAL / "release/blog_os").is_file()


@pytest.mark.anyio
async def test_there_are_a_heap_and_memcpy_for_bare_metal(built: Toolchain, tmp_path: Path) -> None:
    target = await cargo(built, tmp_path, ALLOCATING, "--target", BARE_METAL)
    with (target / BARE_METAL / "debug/blog_os").open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        names = {symbol.name for symbol in table.iter_symbols()}
    assert {"_start", "memcpy"} <= names


def test_an_upgraded_compiler_does_not_meet_the_old_libraries(moved: Toolchain, tmp_path: Path) -> None:
    for upgraded in (replace(own(moved), commit="f" * 40), replace(own(moved), version="1.999.0")):
        assert not with_built_targets(upgraded, tmp_path).can_build(BARE_METAL)


@pytest.mark.parametrize(
    "part",
    [
        "bin/rustc",
        "lib/rustlib/HOST/bin/rust-lld",
        "lib/rustlib/TARGET/lib/libcore-*.rlib",
        "lib/rustlib/TARGET/recipe",
    ],
)
def test_a_sysroot_that_lost_a_part_is_not_used(moved: Toolchain, tmp_path: Path, part: str) -> None:
    folder = place(moved, tmp_path).folder
    if (folder / "lib/rustlib" / moved.host / "bin").is_symlink():
        pytest.skip("the compiler brings its own linker")
    (lost,) = folder.glob(part.replace("HOST", moved.host).replace("TARGET", BARE_METAL))
    lost.unlink()
    assert not with_built_targets(own(moved), tmp_path).can_build(BARE_METAL)


@pytest.mark.anyio
@pytest.mark.parametrize("target", ["x86_64-pc-windows-msvc", "x86_64-apple-darwin", "aarch64-apple-darwin"])
async def test_the_proof_for_another_system_is_a_linked_program(
    toolchains: tuple[Toolchain, ...], target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    able = [one for one in toolchains if one.can_build(target)]
    if not able:
        pytest.skip(f"no {target} here; playground setup --all makes it ready")
    await prove(able[-1], target)
    monkeypatch.setattr("app.toolchain.build._FREESTANDING", "#![no_std]\n#![no_main]\n")
    with pytest.raises(BuildError, match=target):
        await prove(able[-1], target)


@pytest.mark.anyio
async def test_a_damaged_library_does_not_pass_the_proof(moved: Toolchain, tmp_path: Path) -> None:
    (core,) = (place(moved, tmp_path).target(BARE_METAL) / "lib").glob("libcore-*.rlib")
    os.truncate(core, 4096)
    with pytest.raises(BuildError, match=BARE_METAL):
        await prove(moved, BARE_METAL)


@pytest.fixture
def precompiled(
    built: Toolchain, shipped: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Toolchain, Path]:
    """A compiler without built targets, and compiled core libraries that a test may damage."""
    libraries = tmp_path / "target" / BARE_METAL / "release/deps"
    shutil.copytree(place(built, shipped.cache_dir).target(BARE_METAL) / "lib", libraries)
    (tmp_path / "target/other-none-target").symlink_to(BARE_METAL)

    async def compile_core(*_arguments: object) -> Path:
        return tmp_path / "target"

    monkeypatch.setattr("app.toolchain.build._compile_core", compile_core)
    return own(built), libraries


@pytest.mark.anyio
async def test_what_does_not_pass_the_proof_is_never_used(precompiled: tuple[Toolchain, Path], tmp_path: Path) -> None:
    compiler, libraries = precompiled
    (core,) = libraries.glob("libcore-*.rlib")
    os.truncate(core, 4096)
    with pytest.raises(BuildError, match=BARE_METAL):
        await build_targets(compiler, (BARE_METAL,), tmp_path, print, 0)
    assert list((tmp_path / "sysroots").iterdir()) == []


@pytest.mark.anyio
async def test_a_second_target_joins_the_first_and_a_lost_one_is_made_again(
    precompiled: tuple[Toolchain, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler, _ = precompiled
    await build_targets(compiler, (BARE_METAL,), tmp_path, print, 0)

    async def believe(*_arguments: object) -> None:
        return None

    monkeypatch.setattr("app.toolchain.build.prove", believe)
    await build_targets(compiler, ("other-none-target",), tmp_path, print, 0)
    both = with_built_targets(compiler, tmp_path)
    assert {name for name, came in both.targets.items() if came == "built"} == {BARE_METAL, "other-none-target"}
    place(compiler, tmp_path).wrapper.unlink()
    await build_targets(compiler, (BARE_METAL, "other-none-target"), tmp_path, print, 0)
    assert with_built_targets(compiler, tmp_path) == both
    monkeypatch.undo()
    await prove(with_built_targets(compiler, tmp_path), BARE_METAL)


def test_a_target_that_the_compiler_gains_later_is_linked(moved: Toolchain, tmp_path: Path) -> None:
    private = place(moved, tmp_path)
    compiler = tmp_path / "compiler"
    (compiler / "lib/rustlib/new-target/lib").mkdir(parents=True)
    (compiler / "lib/rustlib/new-target/lib/libcore-1.rlib").touch()
    gaining = replace(own(moved), sysroot=compiler, targets={**own(moved).targets, "new-target": "rustup"})
    assert not with_built_targets(gaining, tmp_path).can_build("new-target")
    assert refresh(private, gaining)
    assert with_built_targets(gaining, tmp_path).targets["new-target"] == "rustup"
    assert not refresh(private, gaining)


def test_the_private_sysroot_is_made_of_links(built: Toolchain, tmp_path: Path) -> None:
    private = PrivateSysroot(tmp_path / "new")
    create_sysroot(private, own(built), Path("/usr/bin/lld"))
    libraries = private.target(built.host) / "lib"
    assert libraries.resolve() == (built.sysroot / "lib/rustlib" / built.host / "lib").resolve()
    assert private.linker(built.host).exists()
    assert private.built(built.host) == []
