"""What links: ``cc`` for the host, and whatever answers to ``rust-lld`` for bare metal."""

import os
import shutil
import sys
from pathlib import Path

from app.toolchain.model import Toolchain
from app.toolchain.process import capture

_LLD = ("lld", "ld.lld", "rust-lld")


def find_lld(toolchain: Toolchain) -> Path | None:
    """A linker for bare metal: the compiler's own, or the distribution's lld; None without any."""
    own = toolchain.sysroot / "lib/rustlib" / toolchain.host / "bin/rust-lld"
    if own.exists():
        return own
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/bin"))
    found = next((program for name in _LLD if (program := shutil.which(name, path=path))), None)
    return Path(found) if found else None


async def links_host() -> bool:
    """Whether there is a C compiler that also has the C library's start-up files."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        return compiler is not None
    # It answers with the bare name when it does not know the file.
    return (await capture([compiler, "-print-file-name=crt1.o"])).output.strip().startswith("/")
