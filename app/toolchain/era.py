"""Rust 1.63, the generation of the post, from Debian 12's packages.

It prints the errors that the post quotes, word for word. Its packages are unpacked into the cache folder instead of
installed, because an installed one would take precedence over a newer compiler.
"""

from pathlib import Path

from app.toolchain import debian
from app.toolchain.build import BuildError, prove
from app.toolchain.discover import probe, survey
from app.toolchain.lock import locked
from app.toolchain.model import Flaw
from app.toolchain.places import unpacked_candidate
from app.toolchain.progress import Say, progress
from app.toolchain.scratch import scratch

_VERSION = (1, 63)
_NAME = "1.63"
_PACKAGES = ("rustc", "cargo", "libstd-rust-dev", "libstd-rust-1.63")


async def setup_era(cache_dir: Path, say: Say) -> bool:
    """Set up Rust 1.63 in the cache folder if the distribution offers it; return True if it is there now.

    The course works without it, so False is not an error; ``say`` has received the reason. Needs no root's rights and
    can be interrupted and repeated.
    """
    cache_dir = cache_dir.absolute()
    if await _is_there(cache_dir):
        return True
    if reason := await _reason_against(say):
        say(f"Rust {_NAME}, the generation of the post, cannot be set up: {reason}")
        return False
    try:
        async with locked(cache_dir, say):
            return await _is_there(cache_dir) or await _download(cache_dir, say)
    except OSError as error:
        say(f"The cache folder {cache_dir} cannot be used: {error.strerror or error}.")
        return False


async def _is_there(cache_dir: Path) -> bool:
    return any(toolchain.name == _NAME for toolchain in (await survey(cache_dir)).toolchains)


async def _reason_against(say: Say) -> str | None:
    if not debian.is_debian():
        return "only Debian 12 has it as a package."
    if not debian.has_lists() and not (debian.is_root() and await debian.update(say)):
        return "there are no package lists. Run sudo apt-get update, then try again."
    if (await debian.offered(["rustc"])).get("rustc", ())[:2] != _VERSION:
        return "this release of the distribution has another version."
    return None


async def _download(cache_dir: Path, say: Say) -> bool:
    packages = list(dict.fromkeys((*_PACKAGES, *await debian.libraries(_PACKAGES))))
    say(f"Unpacking Rust {_NAME}, the generation of the post, into {cache_dir}: {' '.join(packages)}")
    with scratch(cache_dir / "era") as folder:
        root = folder / "root"
        if not await debian.download(packages, folder, say) or not await _unpack(folder, root, say):
            say(f"Rust {_NAME} could not be downloaded. The lessons work without it.")
            return False
        if defect := await _defect(root, cache_dir):
            say(f"Rust {_NAME} does not work here: {defect}.")
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


async def _defect(root: Path, cache_dir: Path) -> str | None:
    toolchain = await probe(unpacked_candidate(root), cache_dir)
    if isinstance(toolchain, Flaw):
        return toolchain.reason.rstrip(".")
    try:
        await prove(toolchain, toolchain.host)
    except BuildError as error:
        return str(error)
    return None
