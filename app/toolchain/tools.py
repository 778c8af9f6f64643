"""Programs besides the compiler that lessons need: which are missing, and how to install them."""

import shutil
from collections.abc import Iterable

from app.protocol import qemu
from app.protocol.command import LOOKUPS
from app.toolchain import debian
from app.toolchain.progress import Say

EMULATORS = qemu.PROGRAMS
TOOL_PATH = "/usr/local/bin:/usr/bin:/bin"
"""The search path of runs."""

PACKAGES = dict.fromkeys(LOOKUPS, "binutils-multiarch") | {
    "file": "file",
    "qemu-system-arm": "qemu-system-arm",
    "qemu-system-x86_64": "qemu-system-x86",
    "xxd": "xxd",
    "hexdump": "bsdextrautils",
}
"""Debian's package for each program."""


def missing_tools(names: Iterable[str]) -> tuple[str, ...]:
    """Return the programs that are not on this machine."""
    return tuple(name for name in names if shutil.which(name, path=TOOL_PATH) is None)


def tools_command(names: Iterable[str]) -> str | None:
    """Return the command that installs these programs, or None if the package of one is not known."""
    packages = [PACKAGES.get(name) for name in names]
    if not debian.is_debian() or not all(packages):
        return None
    return debian.install_command(dict.fromkeys(package for package in packages if package))


async def setup_tools(names: Iterable[str], say: Say) -> bool:
    """Install missing programs or, for a normal user, print the command for root; return True if none is missing."""
    lacking = missing_tools(names)
    if not lacking:
        return True
    if debian.is_debian() and debian.is_root():
        packages = tuple(dict.fromkeys(PACKAGES[name] for name in lacking if name in PACKAGES))
        await debian.install(packages, say)
    lacking = missing_tools(names)
    if lacking:
        command = tools_command(lacking)
        install = f" To install {'it' if len(lacking) == 1 else 'them'}: {command}" if command else ""
        say(f"Missing: {', '.join(lacking)}.{install}")
    return not lacking
