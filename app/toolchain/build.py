"""Build the libraries of a target from the compiler's own sources, as rustup ships them, and prove that they work."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from app.toolchain.environment import build_env
from app.toolchain.linkers import find_lld, links_host
from app.toolchain.model import Toolchain
from app.toolchain.process import side_by_side, stream
from app.toolchain.progress import Say, progress
from app.toolchain.scratch import scratch
from app.toolchain.sysroot import PrivateSysroot, create_sysroot, lineage, place

_COMPILING = re.compile(r"^\s*Compiling (\S+) v")
_MANIFEST = """[package]
name = "probe"
version = "0.0.0"
edition = "2021"

[profile.dev]
panic = "abort"

[workspace]
"""
_FREESTANDING = """#![no_std]
#![no_main]
use core::panic::PanicInfo;

#[panic_handler]
fn panic(_info: &PanicInfo) -> ! {
    loop {}
}

#[no_mangle]
pub extern "C" fn _start() -> ! {
    loop {}
}
"""
_HOSTED = 'fn main() {\n    println!("{}", 1);\n}\n'
_EMPTY = "#![no_std]\n"
_OVERRIDES = """
[profile.release]
lto = "off"

[profile.release.package.panic_abort]
rustflags = ["-Cpanic=abort"]
"""
"""Profiles of the standard library's own workspace, which do not apply here. Its 10,000 codegen units for
``compiler_builtins`` are left out, because they would cost a quarter of the whole build. So is the default optimization
between the units of a crate, which costs another quarter and leaves the libraries as large as they are."""
_LIBRARIES = "core,alloc,compiler_builtins"
_PANIC = ",panic_abort,panic_unwind"


class BuildError(Exception):
    """A target could not be built or failed its proof. The message is one sentence without a full stop."""


def rust_src(toolchain: Toolchain) -> Path | None:
    """Return the folder with the sources of this compiler's standard library, or None if they are not installed."""
    library = toolchain.sysroot / "lib/rustlib/src/rust/library"
    return library if (library / "core/src/lib.rs").is_file() else None


def vendored(sources: Path) -> Path | None:
    """Return the folder with the sources' own dependencies, or None if cargo would have to download them."""
    folders = (sources / "vendor", sources.parent / "vendor")
    return next((folder for folder in folders if folder.is_dir()), None)


async def build_targets(toolchain: Toolchain, targets: Sequence[str], cache_dir: Path, say: Say, lock: int) -> None:
    """Build the libraries of the targets into the compiler's private sysroot.

    One cargo builds all targets, so that it can use every core of the machine. The caller holds the cache folder's
    lock; ``lock`` is its descriptor. A target is renamed into place only after a program was built with it. Raises
    ``BuildError`` or ``OSError``.
    """
    compiler = replace(toolchain, rustc=toolchain.compiler)
    linker, sources = find_lld(compiler), rust_src(compiler)
    if linker is None or sources is None:
        raise BuildError(f"Rust {toolchain.version} lacks {'its sources' if linker else 'the linker rust-lld'}")
    private = place(compiler, cache_dir)
    with scratch(cache_dir / "sysroots") as folder:
        built = await _compile_core(compiler, targets, sources, folder / "crate", say, lock)
        draft = PrivateSysroot(folder / "sysroot")
        create_sysroot(draft, compiler, linker)
        for target in targets:
            await anyio.to_thread.run_sync(_copy_libraries, built / target / "release/deps", draft, target)
        await _prove_all(replace(compiler, rustc=draft.wrapper), (*targets, compiler.host))
        _publish(draft, private, compiler.host, targets, folder)
    # Remove the sysroots that belong to this compiler before its last upgrade.
    for outdated in private.folder.parent.glob(f"{lineage(compiler)}*"):
        if outdated != private.folder:
            shutil.rmtree(outdated, ignore_errors=True)


async def prove(toolchain: Toolchain, target: str) -> None:
    """Compile a small crate for the target, and link it unless that needs a linker or libraries that are missing.

    Raises ``BuildError`` with the compiler's message if it fails.
    """
    probe = await _probe_for(toolchain, target)
    with tempfile.TemporaryDirectory(prefix="playground-") as name:
        crate = Path(name)
        _write_crate(crate, probe.file, probe.code)
        lines: list[str] = []
        arguments = ["rustc", "--quiet", "--target", target, *(["--", *probe.flags] if probe.flags else [])]
        code = await _cargo(toolchain, crate, arguments, lines.append, seconds=60)
        program = crate / "target" / target / "debug" / probe.program
        if code or (probe.magic and not program.read_bytes().startswith(probe.magic)):
            raise BuildError(f"Rust {toolchain.version} cannot build for {target}: {_reason(lines)}")


async def _prove_all(toolchain: Toolchain, targets: Iterable[str]) -> None:
    """Prove several targets side by side. Raises ``BuildError`` if one of them fails."""
    errors: list[BuildError] = []

    async def prove_one(target: str) -> None:
        try:
            await prove(toolchain, target)
        except BuildError as error:
            errors.append(error)

    await side_by_side(prove_one, targets)
    if errors:
        raise errors[0]


@dataclass(frozen=True)
class _Probe:
    """A crate that tests a target, and the first bytes of the program that it should become."""

    file: str
    code: str
    flags: tuple[str, ...] = ()
    program: str = "probe"
    magic: bytes = b""


async def _probe_for(toolchain: Toolchain, target: str) -> _Probe:
    if target == toolchain.host:
        return _Probe("main.rs" if await links_host() else "lib.rs", _HOSTED)
    if is_bare(target):
        return _Probe("main.rs", _FREESTANDING, magic=b"\x7fELF")
    if target.endswith("-windows-msvc"):
        arguments = "link-args=/ENTRY:_start /SUBSYSTEM:console /NODEFAULTLIB"
        return _Probe("main.rs", _FREESTANDING, ("-C", "linker=rust-lld", "-C", arguments), "probe.exe", b"MZ")
    if target.endswith("-apple-darwin"):
        flags = ("-C", "linker=rust-lld", "-C", "linker-flavor=ld64.lld", "-C", "link-args=-e __start -static")
        return _Probe("main.rs", _FREESTANDING, flags, magic=b"\xcf\xfa\xed\xfe")
    return _Probe("lib.rs", _EMPTY)


def is_bare(target: str) -> bool:
    """Return True for a target without an operating system."""
    return "-none" in target


async def _compile_core(
    compiler: Toolchain, targets: Sequence[str], sources: Path, crate: Path, say: Say, lock: int
) -> Path:
    """Compile the libraries as rustup has them; return the folder with those of each target.

    Without an operating system, ``memcpy`` and similar functions are in ``compiler_builtins``. With one, the C library
    has them, and the crates that implement panics are added.
    """
    _write_crate(crate, "lib.rs", _EMPTY)
    manifest = crate / "Cargo.toml"
    manifest.write_text(f'cargo-features = ["profile-rustflags"]\n\n{manifest.read_text()}{_OVERRIDES}')
    if vendor := vendored(sources):
        (crate / "home/.cargo").mkdir(parents=True)
        (crate / "home/.cargo/config.toml").write_text(
            f"[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = '{vendor}'\n"
        )
    for group in ([one for one in targets if is_bare(one)], [one for one in targets if not is_bare(one)]):
        if group:
            await _compile_group(compiler, group, crate, say, lock)
    return crate / "target"


async def _compile_group(compiler: Toolchain, targets: Sequence[str], crate: Path, say: Say, lock: int) -> None:
    bare = is_bare(targets[0])
    offline = (crate / "home/.cargo/config.toml").is_file()
    more = {
        "RUSTC_BOOTSTRAP": "1",
        "CARGO_NET_OFFLINE": "true" if offline else "false",
        # Overrides cargo's own embed-bitcode=no, which it passes because this profile asks for no LTO.
        "RUSTFLAGS": "-C embed-bitcode=yes",
    }
    arguments = [
        "build",
        "--release",
        "-Z",
        f"build-std={_LIBRARIES}{'' if bare else _PANIC}",
        "-Z",
        f"build-std-features={'compiler-builtins-mem' if bare else 'panic-unwind'}",
        *(f"--target={target}" for target in targets),
    ]
    lines: list[str] = []
    async with progress(say) as shown:

        def line(text: str) -> None:
            lines.append(text)
            if (match := _COMPILING.match(text)) and match[1] != "probe":
                shown.step(f"compiling {match[1]}")

        code = await _cargo(compiler, crate, arguments, line, more=more, lock=lock, gently=True)
    if code:
        raise BuildError(f"core could not be built for {' and '.join(targets)}: {_reason(lines)}")


async def _cargo(
    toolchain: Toolchain,
    crate: Path,
    arguments: list[str],
    line: Callable[[str], object],
    *,
    seconds: float = 900.0,
    more: Mapping[str, str] | None = None,
    lock: int | None = None,
    gently: bool = False,
) -> int:
    home = crate / "home"
    home.mkdir(exist_ok=True)
    env = {**build_env(toolchain, home, crate / "target"), "CARGO_TERM_COLOR": "never", **(more or {})}
    # A server may be running on the same machine, and its runs are more urgent.
    nice = shutil.which("nice") if gently else None
    argv = [
        *([nice, "-n", "10"] if nice else []),
        str(toolchain.cargo),
        *arguments[:1],
        "--manifest-path",
        str(crate / "Cargo.toml"),
        *arguments[1:],
    ]
    # cargo reads the configuration in the current folder and every folder above it. / has none of the user's.
    fds = () if lock is None else (lock,)
    return await stream(argv, line, env=env, cwd=Path("/"), seconds=seconds, pass_fds=fds, tied=True)


def _write_crate(folder: Path, file: str, text: str) -> None:
    (folder / "src").mkdir(parents=True)
    (folder / "Cargo.toml").write_text(_MANIFEST)
    (folder / "src" / file).write_text(text)


def _copy_libraries(built: Path, draft: PrivateSysroot, target: str) -> None:
    libraries = draft.target(target) / "lib"
    libraries.mkdir(parents=True)
    for library in built.glob("lib*.rlib"):
        if not library.name.startswith("libprobe-"):
            shutil.copy2(library, libraries)
    draft.write_recipe(target)


def _publish(draft: PrivateSysroot, private: PrivateSysroot, host: str, targets: Sequence[str], attic: Path) -> None:
    """Rename the draft into place, or only its targets if there is a working sysroot with other targets."""
    moves = [(draft.folder, private.folder)]
    if set(private.built(host)) - set(targets):
        moves = [(draft.target(target), private.target(target)) for target in targets]
    for new, old in moves:
        if os.path.lexists(old):
            old.rename(attic / f"replaced-{old.name}")
        new.rename(old)


def _reason(lines: list[str]) -> str:
    errors = [line for line in lines if line.startswith(("error", "rustc: ", "cargo: "))]
    return (errors or [line for line in lines if line.strip()] or ["it printed no message"])[0].strip()
