"""The compiler of the post's time, Rust 1.63 from Debian's packages, unpacked and never installed.

It prints the post's own errors word for word. Installed, it would be in the way of a newer compiler.
"""

from pathlib import Path

from app.toolchain import debian
from app.toolchain.build import BuildError, prove
from app.toolchain.discover import probe, survey
from app.toolchain.lock import locked
from app.toolchain.model import Flaw
from app.toolchain.places import unpacked
from app.toolchain.progress import Say, progress
from app.toolchain.scratch import scratch

_VERSION = (1, 63)
_NAME = "1.63"
_PACKAGES = ("rustc", "cargo", "libstd-rust-dev", "libstd-rust-1.63")


async def setup_era(cache_dir: Path, say: Say) -> bool:
    """Provide Rust 1.63 under the cache folder where the distribution has it; whether it is there now.

    The course works without it, so False is no error; the reason was said. Needs no root, can be
    interrupted and repeated.
    """
    cache_dir = cache_dir.absolute()
    if await _is_there(cache_dir):
        return True
    if reason := await _impossible(say):
        say(f"Rust {_NAME}, which the post was written with, is not offered: {reason}")
        return False
    try:
        async with locked(cache_dir, say):
            return await _is_there(cache_dir) or await _fetch(cache_dir, say)
    except OSError as error:
        say(f"The cache folder {cache_dir} cannot be used: {error.strerror or error}.")
        return False


async def _is_there(cache_dir: Path) -> bool:
    return any(toolchain.name == _NAME for toolchain in (await survey(cache_dir)).toolchains)


async def _impossible(say: Say) -> str | None:
    if not debian.is_debian():
        return "only Debian 12 has it as a package."
    if not debian.has_lists() and not (debian.is_root() and await debian.update(say)):
        return "there are no package lists; sudo apt-get update fetches them."
    if (await debian.offered(["rustc"])).get("rustc", ())[:2] != _VERSION:
        return "this release of the distribution has another one."
    return None


async def _fetch(cache_dir: Path, say: Say) -> bool:
    packages = list(dict.fromkeys((*_PACKAGES, *await debian.libraries(_PACKAGES))))
    say(f"Unpacking Rust {_NAME}, which the post was written with, into {cache_dir}: {' '.join(packages)}")
    with scratch(cache_dir / "era") as folder:
        root = folder / "root"
        if not await debian.download(packages, folder, say) or not await _unpack(folder, root, say):
            say(f"Rust {_NAME} could not be fetched; the lessons work without it.")
            return False
        if flaw := await _flaw(root, cache_dir):
            say(f"Rust {_NAME} does not work here: {flaw}.")
            return False
        root.rename(folder.parent / _NAME)
    say(f"Rust {_NAME} is ready.")
    return True


async def _unpack(folder: Path, root: Path, say: Say) -> bool:
    root.mkdir()
    async with progress(say) as shown:
        for package in sorted(folder.glob("*.deb")):
            shown.step(f"unpacking {package.name.partition('_')[0]}")
            if not await debian.unpack(package, root):
                return False
    return True


async def _flaw(root: Path, cache_dir: Path) -> str | None:
    toolchain = await probe(unpacked(root), cache_dir)
    if isinstance(toolchain, Flaw):
        return toolchain.reason.rstrip(".")
    try:
        await prove(toolchain, toolchain.host)
    except BuildError as error:
        return str(error)
    return None
