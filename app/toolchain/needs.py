"""The programs and targets that a course needs and this machine lacks, and the command that installs them."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.protocol.command import LOOKUPS
from app.toolchain import debian
from app.toolchain.build import rust_src, vendored
from app.toolchain.discover import Survey
from app.toolchain.linkers import find_lld, links_host
from app.toolchain.model import Toolchain
from app.toolchain.places import rustup_program
from app.toolchain.process import capture
from app.toolchain.tools import PACKAGES

_HOST_LINKER = ("gcc", "libc6-dev")
_MAKEFILE = Path(__file__).parents[2] / "Makefile"
"""The Makefile of a checkout. An installed package has none."""


@dataclass(frozen=True)
class Needs:
    """The parts that are missing.

    ``targets`` are the triples that no toolchain can build for; ``host_linker`` is True if the host's linker is
    missing. ``missing`` describes everything, including look-up tools, in sentences. ``compiler_packages`` and
    ``tool_packages`` are Debian's packages, empty elsewhere. ``command`` installs everything; it is None if nothing is
    missing or no single command is known.
    """

    targets: tuple[str, ...]
    host_linker: bool
    missing: tuple[str, ...]
    compiler_packages: tuple[str, ...]
    tool_packages: tuple[str, ...]
    command: str | None

    @property
    def fatal(self) -> bool:
        """True if some lessons cannot be done. Every lesson can be done without the look-up tools."""
        return bool(self.targets or self.host_linker)

    @property
    def packages(self) -> tuple[str, ...]:
        """All packages to install."""
        return self.compiler_packages + self.tool_packages


async def needs(found: Survey, targets: tuple[str, ...], essential: tuple[str, ...] | None = None) -> Needs:
    """Compare the machine with the ``targets`` and programs that lessons use.

    ``essential`` are the targets that ``playground setup`` provides without ``--all``; by default all of ``targets``.
    """
    lacking = tuple(target for target in targets if not any(one.can_build(target) for one in found.toolchains))
    sources = any(can_build_core(toolchain) for toolchain in found.everyone)
    no_linker = not await links_host()
    lookups = [tool for tool in LOOKUPS if shutil.which(tool) is None]
    host_only = "objdump" not in lookups and "elf32-littlearm" not in (await capture(["objdump", "--info"])).output
    compiler_packages: tuple[str, ...] = ()
    tool_packages: tuple[str, ...] = ()
    if debian.is_debian():
        if not found.toolchains or (lacking and not sources):
            compiler_packages = await debian.compiler_packages()
        tools = [*lookups, *["objdump"] * host_only]
        tool_packages = tuple(dict.fromkeys([*_HOST_LINKER * no_linker, *(PACKAGES[tool] for tool in tools)]))
    missing = [
        *([] if found.toolchains else ["There is no Rust compiler."]),
        *(f"No toolchain here can build for {target}." for target in lacking),
        *(["There is no C compiler (cc) with the C library, which links programs for the host."] if no_linker else []),
        *([f"Programs that inspect a binary are missing: {', '.join(lookups)}."] if lookups else []),
        *(["The program objdump cannot read binaries for other machines."] if host_only else []),
    ]
    optional = bool(set(lacking) - set(targets if essential is None else essential))
    command = _install_command(lacking, optional, sources, compiler_packages + tool_packages) if missing else None
    return Needs(lacking, no_linker, tuple(missing), compiler_packages, tool_packages, command)


def can_build_core(toolchain: Toolchain) -> bool:
    """Return True if ``core`` can be built without network: with sources, their dependencies and a linker."""
    sources = rust_src(toolchain)
    return sources is not None and vendored(sources) is not None and find_lld(toolchain) is not None


def addition(toolchain: Toolchain, targets: Sequence[str]) -> str:
    """Return a sentence on the targets that a toolchain lacks, and on the command that adds them."""
    lacking = f"Rust {toolchain.name} has no core for {' and '.join(targets)}"
    if toolchain.source != "rustup" and not can_build_core(toolchain):
        return f"{lacking}, and no sources to build it from."
    options = " ".join(f"--target {target}" for target in targets)
    return f"{lacking}: `playground setup --toolchain {toolchain.name} {options}` adds it."


def can_add_targets(found: Survey) -> bool:
    """Return True if targets can be set up without root's rights: by rustup, or from a compiler's sources."""
    return rustup_program() is not None or any(can_build_core(toolchain) for toolchain in found.everyone)


def _install_command(lacking: tuple[str, ...], optional: bool, sources: bool, packages: tuple[str, ...]) -> str | None:
    if _MAKEFILE.is_file() and not shutil.which("playground"):
        # In a checkout the command lies in .venv/bin, which is usually not on PATH.
        setup = "make targets" if optional else "make setup"
    else:
        setup = "playground setup --all" if optional else "playground setup"
    if packages:
        return setup if debian.is_root() else f"{debian.install_command(packages)} && {setup}"
    if lacking and sources:
        return setup
    if lacking and rustup_program():
        return f"rustup target add {' '.join(lacking)}"
    return None
