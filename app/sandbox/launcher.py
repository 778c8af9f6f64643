"""The launcher: compiled once from ``launcher.rs`` and ``observe.rs`` by a compiler that is here, kept in the cache.

It is named after its source, so that a changed source is compiled anew, and moved into place when it is complete.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import anyio

from app.toolchain import Toolchain, build_env

_SOURCE = Path(__file__).with_name("launcher.rs")
_PARTS = (_SOURCE, _SOURCE.with_name("observe.rs"))
_FLAGS = ("--edition=2021", "-O", "-Cpanic=abort", "-Cstrip=symbols")
_SECONDS = 60.0


async def launcher(cache_dir: Path, toolchains: tuple[Toolchain, ...]) -> Path | None:
    """The launcher's path; None when no toolchain here can compile it."""
    source = b"".join(part.read_bytes() for part in _PARTS)
    kept = cache_dir / "launcher" / hashlib.sha256(source).hexdigest()[:16] / "launcher"
    if kept.is_file():
        return kept
    stable = sorted(toolchains, key=lambda one: one.stable, reverse=True)
    for toolchain in stable:
        if await _compile(toolchain, kept):
            return kept
    return None


async def _compile(toolchain: Toolchain, kept: Path) -> bool:
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        for above in (kept.parent, kept.parent.parent):
            os.chmod(above, 0o755)  # noqa: S103 - runs with a user of their own pass here
        folder = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=kept.parent))
    except OSError:
        return False
    try:
        command = [str(toolchain.rustc), str(_SOURCE), "-o", str(folder / "launcher"), *_FLAGS]
        with anyio.move_on_after(_SECONDS):
            done = await anyio.run_process(command, env=build_env(toolchain, folder), cwd=folder, check=False)
            if done.returncode == 0:
                os.chmod(folder / "launcher", 0o755)  # noqa: S103 - runs with a user of their own start it
                os.replace(folder / "launcher", kept)
                return True
    except OSError:
        return False
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return False
