"""What this machine lacks for the course, and the one command that mends it."""

import shutil
from dataclasses import dataclass

from app.toolchain import debian
from app.toolchain.build import rust_src
from app.toolchain.discover import Survey, rustup_program
from app.toolchain.model import Toolchain
from app.toolchain.process import capture
from app.toolchain.sysroot import find_linker

BARE_METAL = "thumbv7em-none-eabihf"
LOOKUPS = ("readelf", "objdump", "nm", "size", "file")
_SETUP = "playground setup"


@dataclass(frozen=True)
class Needs:
    """The lack in facts (``targets``; ``linker`` when cc is missing) and in sentences (``missing``).

    ``packages`` is what Debian calls it, empty elsewhere. ``command`` mends all of it; None when nothing
    is missing or no single command is known.
    """

    targets: tuple[str, ...]
    linker: bool
    missing: tuple[str, ...]
    packages: tuple[str, ...]
    command: str | None

    @property
    def fatal(self) -> bool:
        """Whether a lesson cannot be done; a missing look-up tool only spoils a look."""
        return bool(self.targets or self.linker)


async def needs(found: Survey, targets: tuple[str, ...] = (BARE_METAL,)) -> Needs:
    """Compare what was found with what the lessons use."""
    lacking = tuple(target for target in targets if not any(one.can_build(target) for one in found.everyone))
    sources = any(can_build_core(toolchain) for toolchain in found.everyone)
    linker = shutil.which("cc") is None
    lookups = [tool for tool in LOOKUPS if shutil.which(tool) is None]
    blind = not lookups and not await _reads_other_machines()
    packages: list[str] = []
    if debian.is_debian():
        if not found.toolchains or (lacking and not sources):
            packages += await debian.compiler_packages()
        packages += ["gcc", "libc6-dev"] if linker else []
        packages += ["binutils-multiarch"] if blind or set(lookups) - {"file"} else []
        packages += ["file"] if "file" in lookups else []
    missing = [
        *([] if found.toolchains else ["There is no Rust compiler."]),
        *(f"Nothing can build for {target}." for target in lacking),
        *(["There is no C compiler (cc), which links programs for the host."] if linker else []),
        *(f"The look-up tool {tool} is missing." for tool in lookups),
        *(["objdump cannot read programs for other machines."] if blind else []),
    ]
    command = _command(lacking, sources, tuple(packages)) if missing else None
    return Needs(lacking, linker, tuple(missing), tuple(packages), command)


def can_build_core(toolchain: Toolchain) -> bool:
    """Whether the compiler's own sources and a bare-metal linker are there."""
    recent = toolchain.release >= debian.OLDEST
    return recent and rust_src(toolchain) is not None and find_linker(toolchain) is not None


def _command(lacking: tuple[str, ...], sources: bool, packages: tuple[str, ...]) -> str | None:
    if packages:
        return _SETUP if debian.is_root() else f"{debian.install_command(packages)} && {_SETUP}"
    if lacking and sources:
        return _SETUP
    if lacking and rustup_program():
        return f"rustup target add {' '.join(lacking)}"
    return None


async def _reads_other_machines() -> bool:
    return "elf32-littlearm" in (await capture(["objdump", "--info"])).output
