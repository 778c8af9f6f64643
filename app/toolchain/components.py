"""Clippy and rustfmt: find and install these components of a toolchain."""

from collections.abc import Sequence
from pathlib import Path

from app.toolchain import debian
from app.toolchain.model import Toolchain
from app.toolchain.places import rustup_program
from app.toolchain.process import stream
from app.toolchain.progress import Say, progress

PROGRAMS = {"clippy": ("cargo-clippy", "clippy-driver"), "rustfmt": ("cargo-fmt", "rustfmt")}
"""The programs of each component, which lie beside cargo."""
_PACKAGES = {"clippy": ("rust-clippy", "rust-web-clippy"), "rustfmt": ("rustfmt", "rustfmt-web")}
"""Their Debian packages: those for the compiler ``rustc`` and those for ``rustc-web``."""
_SECONDS = 120.0


def has(toolchain: Toolchain, component: str) -> bool:
    """Return True if the toolchain's own folder has the component."""
    return all(program(toolchain, name).is_file() for name in PROGRAMS[component])


def lacking(toolchain: Toolchain) -> tuple[str, ...]:
    """Return the components that the toolchain lacks."""
    return tuple(component for component in PROGRAMS if not has(toolchain, component))


def program(toolchain: Toolchain, name: str) -> Path:
    """Return the path at which a component's program would be."""
    return toolchain.cargo.with_name(name)


def installable(toolchain: Toolchain) -> bool:
    """Return True if the toolchain itself comes from Debian's packages."""
    return toolchain.source == "system" and toolchain.cargo == Path("/usr/bin/cargo") and debian.is_debian()


async def packages(toolchain: Toolchain) -> tuple[str, ...]:
    """Return Debian's packages for the missing components, in the toolchain's own version."""
    if not installable(toolchain) or not lacking(toolchain):
        return ()
    names = [name for component in lacking(toolchain) for name in _PACKAGES[component]]
    versions = await debian.offered(names)
    return tuple(name for name in names if versions.get(name, ())[:2] == toolchain.release[:2])


async def can_add(toolchains: Sequence[Toolchain]) -> bool:
    """Return True if set-up can add a missing component to one of the toolchains."""
    rustup = rustup_program() is not None
    if rustup and any(toolchain.source == "rustup" and lacking(toolchain) for toolchain in toolchains):
        return True
    return debian.is_root() and any([await packages(toolchain) for toolchain in toolchains])


async def add(toolchains: Sequence[Toolchain], say: Say) -> None:
    """Install missing components as far as this user may. Every lesson can be done without them."""
    wanted = [name for toolchain in toolchains for name in await packages(toolchain)]
    if wanted and debian.is_root():
        await debian.install(wanted, say)
    rustup = rustup_program()
    for toolchain in toolchains:
        if rustup and toolchain.source == "rustup" and lacking(toolchain):
            await _by_rustup(rustup, toolchain, say)


async def _by_rustup(rustup: Path, toolchain: Toolchain, say: Say) -> None:
    names = lacking(toolchain)
    say(f"Asking rustup for {' and '.join(names)} of Rust {toolchain.version}")
    lines: list[str] = []
    async with progress(say):
        argv: list[str | Path] = [rustup, "component", "add", "--toolchain", toolchain.sysroot.name, *names]
        code = await stream(argv, lines.append, seconds=_SECONDS)
    if code:
        say(f"  rustup could not: {next((line for line in lines if line.startswith('error')), 'no answer')}")
