"""The linkers: ``cc`` for the host, and ``rust-lld`` or another LLD for bare metal."""

import os
import shutil
import sys
from pathlib import Path

from app.toolchain.model import Toolchain
from app.toolchain.process import capture

_LLD = ("lld", "ld.lld", "rust-lld")


def find_lld(toolchain: Toolchain) -> Path | None:
    """Return a linker for bare metal, the compiler's own or else an installed LLD; None if there is none."""
    own = toolchain.sysroot / "lib/rustlib" / toolchain.host / "bin/rust-lld"
    if own.exists():
        return own
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/bin"))
    found = next((program for name in _LLD if (program := shutil.which(name, path=path))), None)
    return Path(found) if found else None


async def links_host() -> bool:
    """Return True if there is a C compiler with the C library's start-up files."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        return compiler is not None
    # The compiler prints the bare name if it cannot find the file.
    return (await capture([compiler, "-print-file-name=crt1.o"])).output.strip().startswith("/")
