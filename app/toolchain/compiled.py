"""Compile one of the playground's own helper programs once and keep it in the cache folder.

The folder's name contains a hash of the source, so a changed source is compiled again. A program is renamed into place
when it is complete.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import anyio

from app.toolchain.environment import build_env
from app.toolchain.model import Toolchain

_FLAGS = ("--edition=2021", "-O", "-Cpanic=abort", "-Cstrip=symbols")
_SECONDS = 60.0


async def compile_program(
    source: Path,
    cache_dir: Path,
    toolchains: tuple[Toolchain, ...],
    names: Sequence[str] = (),
    parts: Sequence[Path] = (),
) -> Path | None:
    """Return the folder with the program under each of ``names``, or None if no toolchain can compile it.

    Without ``names`` the program is named after its source. ``parts`` are further files that the source includes.
    """
    text = b"".join(part.read_bytes() for part in (source, *parts))
    kept = cache_dir / source.stem / hashlib.sha256(text).hexdigest()[:16]
    names = names or (source.stem,)
    if all((kept / name).is_file() for name in names):
        return kept
    stable_first = sorted(toolchains, key=lambda one: one.stable, reverse=True)
    for toolchain in stable_first:
        if await _compile(toolchain, source, kept, names):
            return kept
    return None


async def _compile(toolchain: Toolchain, source: Path, kept: Path, names: Sequence[str]) -> bool:
    try:
        kept.mkdir(parents=True, exist_ok=True)
        for above in (kept, kept.parent):
            os.chmod(above, 0o755)  # noqa: S103 - runs under other users must be able to enter
        folder = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=kept))
    except OSError:
        return False
    try:
        command = [str(toolchain.rustc), str(source), "-o", str(folder / "program"), *_FLAGS]
        with anyio.move_on_after(_SECONDS):
            done = await anyio.run_process(command, env=build_env(toolchain, folder), cwd=folder, check=False)
            if done.returncode == 0:
                os.chmod(folder / "program", 0o755)  # noqa: S103 - runs under other users start it
                for name in names:
                    os.link(folder / "program", folder / name)
                    os.replace(folder / name, kept / name)
                return True
    except OSError:
        return False
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return False
