"""The launcher, compiled once from its Rust sources and kept in the cache folder."""

from pathlib import Path

from app.toolchain import Toolchain, compile_program

_SOURCE = Path(__file__).with_name("launcher.rs")
_PARTS = tuple(_SOURCE.with_name(name) for name in ("observe.rs", "seccomp.rs", "calls.txt"))


async def launcher(cache_dir: Path, toolchains: tuple[Toolchain, ...]) -> Path | None:
    """Return the launcher's path, or None if no toolchain can compile it."""
    folder = await compile_program(_SOURCE, cache_dir, toolchains, parts=_PARTS)
    return folder / _SOURCE.stem if folder else None
