"""The distribution's packages, on Debian and its kin: which ones are missing, and how they are installed."""

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from app.toolchain.model import release
from app.toolchain.process import capture, stream
from app.toolchain.progress import Say, progress

OLDEST = (1, 82)
"""The oldest compiler that is worth installing: from then on attributes such as ``unsafe(no_mangle)`` work."""

_FLAVOURS = (("rustc", "cargo", "rust-src"), ("rustc-web", "cargo-web", "rust-web-src"))
_FIRST_WITH_PLAIN_NAMES = 14
_LINKER = ("lld",)
_LISTS = Path("/var/lib/apt/lists")
_CANDIDATE = re.compile(r"^(\S+):\n.*\n\s+Candidate: (?:\d+:)?(\d+\.\d+\.\d+)", re.MULTILINE)
_STEP = re.compile(r"^(Get:\d+|Unpacking|Setting up)\s(.*)$")
_URI = re.compile(r"^'\S+' \S+ (\d+) ", re.MULTILINE)
_LIBRARY = re.compile(r"Depends: (lib\S+)")
_INTERRUPTED = "dpkg --configure -a"


def is_debian() -> bool:
    """Whether packages come by apt here."""
    return shutil.which("apt-get") is not None and Path("/etc/debian_version").exists()


def is_root() -> bool:
    """Whether packages may be installed without asking for more rights."""
    return os.geteuid() == 0


def install_command(packages: Iterable[str]) -> str:
    """The one command that installs these packages, as this user types it."""
    install = f"apt-get install --no-install-recommends {' '.join(packages)}"
    sudo = "" if is_root() else "sudo "
    return f"{sudo}{install}" if has_lists() else f"{sudo}apt-get update && {sudo}{install}"


async def compiler_packages() -> tuple[str, ...]:
    """The newest matching compiler, cargo, sources and linker that the distribution offers.

    Empty when there is none that is recent enough. Without package lists, what the current releases call them.
    """
    if not has_lists():
        return _FLAVOURS[_release_number() < _FIRST_WITH_PLAIN_NAMES] + _LINKER
    versions_of = await offered(name for flavour in _FLAVOURS for name in flavour)
    # Debian 13 has both: an older one whose sources lack their dependencies, and the browsers' recent one.
    flavour = max(_FLAVOURS, key=lambda names: versions_of.get(names[0], (0,)))
    compiler, sources = (versions_of.get(flavour[index], (0,)) for index in (0, 2))
    return flavour + _LINKER if compiler == sources and compiler >= OLDEST else ()


def _release_number() -> float:
    """Debian's number, 12 for bookworm; endless for a release that has none yet."""
    match = re.match(r"\d+", Path("/etc/debian_version").read_text())
    return float(match[0]) if match else float("inf")


async def offered(names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """The versions that the distribution would install; a name that it does not have is left out."""
    policy = await capture(["apt-cache", "policy", *names], env=_env())
    return {name: release(version) for name, version in _CANDIDATE.findall(policy.output)}


async def libraries(packages: Iterable[str]) -> list[str]:
    """The libraries that these packages need to run and that are not installed, in turn with theirs."""
    missing: list[str] = []
    level = list(packages)
    while level:
        depends = await capture(["apt-cache", "depends", "--important", *level], env=_env())
        names = [name for name in dict.fromkeys(_LIBRARY.findall(depends.output)) if name not in missing]
        level = [name for name in names if not name.endswith("-dev") and not await _is_installed(name)]
        missing += level
    return missing


async def _is_installed(package: str) -> bool:
    status = await capture(["dpkg-query", "--show", "--showformat", "${db:Status-Status}", package], env=_env())
    return status.output.startswith("installed")


async def download(packages: Iterable[str], folder: Path, say: Say) -> bool:
    """Fetch packages as files into a folder, which needs no rights; whether that worked."""
    return await _apt(["download", *packages], say, cwd=folder)


async def unpack(package: Path, folder: Path) -> bool:
    """Unpack a package file below a folder, without installing it."""
    return (await capture(["dpkg", "--extract", package, folder], seconds=120)).code == 0


async def update(say: Say) -> bool:
    """Fetch the package lists; whether that worked."""
    say("Fetching the distribution's package lists: apt-get update")
    return await _apt(["update"], say)


async def install(packages: Iterable[str], say: Say) -> bool:
    """Install packages, removing none; whether that worked.

    Says first what it installs and how much that downloads. Fetches the lists when there are none and again when they
    are stale, and ends what an interrupted installation left half done.
    """
    names = tuple(packages)
    argv = ["install", "--yes", "--no-install-recommends", "--no-remove", *names]
    fetched = not has_lists() and await update(say)
    megabytes = await _download_bytes(argv) / 1e6
    size = f" ({megabytes:.0f} MB to download)" if megabytes else ""
    say(f"Installing the distribution's packages: {' '.join(names)}{size}")
    if has_lists() and await _apt(argv, say):
        return True
    return not fetched and await update(say) and await _apt(argv, say)


async def _download_bytes(argv: Iterable[str]) -> int:
    """Return the bytes that apt would download for these arguments; 0 if it cannot tell."""
    uris = await capture(["apt-get", "-qq", "--print-uris", *argv], env=_env())
    return sum(int(size) for size in _URI.findall(uris.output)) if uris.code == 0 else 0


def has_lists() -> bool:
    """Whether package lists were ever fetched."""
    return any(not file.name.startswith("debootstrap.") for file in _LISTS.glob("*_Packages*"))


async def _apt(arguments: list[str], say: Say, cwd: Path | None = None) -> bool:
    errors: list[str] = []
    async with progress(say) as shown:

        def line(text: str) -> None:
            if match := _STEP.match(text):
                shown.step(_condensed(match[1], match[2]))
            elif text.startswith("E: "):
                errors.append(text.removeprefix("E: "))

        # Waits for another apt; a package manager is never ended half-way, so the time is generous.
        options = ["-q", "-o", "DPkg::Lock::Timeout=120"]
        code = await stream(["apt-get", *options, *arguments], line, env=_env(), cwd=cwd, seconds=1800)
    if any(_INTERRUPTED in error for error in errors):
        say("An earlier installation was interrupted; ending it: dpkg --configure -a")
        repaired = await capture(["dpkg", "--configure", "-a"], env=_env(), seconds=600)
        return repaired.code == 0 and await _apt(arguments, say, cwd)
    for error in errors[:1]:
        say(f"  apt-get: {error}")
    return code == 0


def _condensed(kind: str, rest: str) -> str:
    if kind.startswith("Get:"):
        return "downloading packages"
    package = rest.partition(" ")[0].partition(":")[0]
    return f"{kind.lower()} {package}"


def _env() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
