"""Programs that only some lessons need: which are here, and how the others come."""

import shutil
from collections.abc import Iterable

from app.protocol import qemu
from app.toolchain import debian
from app.toolchain.progress import Say

EMULATORS = qemu.PROGRAMS
TOOL_PATH = "/usr/local/bin:/usr/bin:/bin"
"""The search path of runs."""

PACKAGES = {
    "qemu-system-arm": "qemu-system-arm",
    "qemu-system-x86_64": "qemu-system-x86",
    "file": "file",
    "xxd": "xxd",
    "hexdump": "bsdextrautils",
} | dict.fromkeys(("readelf", "objdump", "nm", "size", "strings"), "binutils-multiarch")
"""What Debian calls the package that a program comes in."""


def missing_tools(names: Iterable[str]) -> tuple[str, ...]:
    """Those of these programs that are not on this machine."""
    return tuple(name for name in names if shutil.which(name, path=TOOL_PATH) is None)


def tools_command(names: Iterable[str]) -> str | None:
    """The command that installs these programs; None where no package is known for one."""
    packages = [PACKAGES.get(name) for name in names]
    if not debian.is_debian() or not all(packages):
        return None
    return debian.install_command(dict.fromkeys(package for package in packages if package))


async def setup_tools(names: Iterable[str], say: Say) -> bool:
    """Install those of these programs that are missing, or say the command that does; whether all are there."""
    lacking = missing_tools(names)
    if not lacking:
        return True
    if debian.is_debian() and debian.is_root():
        packages = tuple(dict.fromkeys(PACKAGES[name] for name in lacking if name in PACKAGES))
        await debian.install(packages, say)
    lacking = missing_tools(names)
    if lacking:
        command = tools_command(lacking)
        say(f"Missing: {', '.join(lacking)}.{f' To install: {command}' if command else ''}")
    return not lacking
