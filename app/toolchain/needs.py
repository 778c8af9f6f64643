"""What this machine lacks for the course, and the one command that mends it."""

import shutil
from dataclasses import dataclass

from app.toolchain import debian
from app.toolchain.build import rust_src, vendored
from app.toolchain.discover import Survey
from app.toolchain.linkers import find_lld, links_host
from app.toolchain.model import Toolchain
from app.toolchain.places import rustup_program
from app.toolchain.process import capture

LOOKUPS = ("readelf", "objdump", "nm", "size", "strings", "file", "xxd", "hexdump")
_OBJDUMP = "binutils-multiarch"
_PACKAGE_OF = dict.fromkeys(LOOKUPS, _OBJDUMP) | {"file": "file", "xxd": "xxd", "hexdump": "bsdextrautils"}
_HOST_LINKER = ("gcc", "libc6-dev")


@dataclass(frozen=True)
class Needs:
    """What lacks: ``targets`` that nothing builds for, ``linker`` when nothing links for the host.

    ``missing`` says all of it, look-up tools included, in sentences.
    ``compiler_packages`` and ``tool_packages`` are what Debian calls it, empty elsewhere. ``command`` mends
    all of it; None when nothing is missing or no single command is known.
    """

    targets: tuple[str, ...]
    linker: bool
    missing: tuple[str, ...]
    compiler_packages: tuple[str, ...]
    tool_packages: tuple[str, ...]
    command: str | None

    @property
    def fatal(self) -> bool:
        """Whether a lesson cannot be done; a missing look-up tool only spoils a look."""
        return bool(self.targets or self.linker)

    @property
    def packages(self) -> tuple[str, ...]:
        """Everything that the distribution can add."""
        return self.compiler_packages + self.tool_packages


async def needs(found: Survey, targets: tuple[str, ...], essential: tuple[str, ...] | None = None) -> Needs:
    """Compare what was found with what the lessons use.

    ``essential`` are those that a plain set-up provides; all of ``targets`` when left out.
    """
    lacking = tuple(target for target in targets if not any(one.can_build(target) for one in found.toolchains))
    sources = any(can_build_core(toolchain) for toolchain in found.everyone)
    unlinked = not await links_host()
    lookups = [tool for tool in LOOKUPS if shutil.which(tool) is None]
    blind = "objdump" not in lookups and not await _reads_other_machines()
    packages = [*_HOST_LINKER] * unlinked + [_PACKAGE_OF[tool] for tool in lookups] + [_OBJDUMP] * blind
    wanted: tuple[str, ...] = ()
    if debian.is_debian() and (not found.toolchains or (lacking and not sources)):
        wanted = await debian.compiler_packages()
    extras = tuple(dict.fromkeys(packages)) if debian.is_debian() else ()
    missing = [
        *([] if found.toolchains else ["There is no Rust compiler."]),
        *(f"Nothing here builds for {target}." for target in lacking),
        *(["There is no C compiler (cc) with the C library; it links programs for the host."] if unlinked else []),
        *([f"Programs that look into a binary are missing: {', '.join(lookups)}."] if lookups else []),
        *(["The program objdump cannot read programs for other machines."] if blind else []),
    ]
    further = bool(set(lacking) - set(targets if essential is None else essential))
    command = _command(lacking, further, sources, wanted + extras) if missing else None
    return Needs(lacking, unlinked, tuple(missing), wanted, extras, command)


def can_build_core(toolchain: Toolchain) -> bool:
    """Whether sources, their dependencies and a bare-metal linker are all here, so that no network is needed."""
    sources = rust_src(toolchain)
    return sources is not None and vendored(sources) is not None and find_lld(toolchain) is not None


def obtainable(found: Survey) -> bool:
    """Whether a target can be had without more rights: by rustup, or from a compiler's sources."""
    return rustup_program() is not None or any(can_build_core(toolchain) for toolchain in found.everyone)


def _command(lacking: tuple[str, ...], further: bool, sources: bool, packages: tuple[str, ...]) -> str | None:
    setup = ("make setup", "make targets")[further]
    if shutil.which("playground"):
        setup = f"playground setup{' --all' if further else ''}"
    if packages:
        return setup if debian.is_root() else f"{debian.install_command(packages)} && {setup}"
    if lacking and sources:
        return setup
    if lacking and rustup_program():
        return f"rustup target add {' '.join(lacking)}"
    return None


async def _reads_other_machines() -> bool:
    return "elf32-littlearm" in (await capture(["objdump", "--info"])).output
