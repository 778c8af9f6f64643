"""Find and install the packages that are needed on Debian and its derivatives."""

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from app.toolchain.model import release
from app.toolchain.process import capture, stream
from app.toolchain.progress import Say, progress

OLDEST = (1, 82)
"""The oldest compiler that is worth installing: the first that accepts attributes such as ``unsafe(no_mangle)``."""

_PLAIN = ("rustc", "cargo", "rust-src")
_WEB = ("rustc-web", "cargo-web", "rust-web-src")
_FIRST_RECENT_RELEASE = 14
_LINKER = ("lld",)
_LISTS = Path("/var/lib/apt/lists")
_CANDIDATE = re.compile(r"^(\S+):\n.*\n\s+Candidate: (?:\d+:)?(\d+\.\d+\.\d+)", re.MULTILINE)
_STEP = re.compile(r"^(Get:\d+|Unpacking|Setting up)\s(.*)$")
_URI = re.compile(r"^'\S+' \S+ (\d+) ", re.MULTILINE)
_LIBRARY = re.compile(r"Depends: (lib\S+)")
_INTERRUPTED = "dpkg --configure -a"


def is_debian() -> bool:
    """Return True if this system installs packages with apt."""
    return shutil.which("apt-get") is not None and Path("/etc/debian_version").exists()


def is_root() -> bool:
    """Return True if this process may install packages."""
    return os.geteuid() == 0


def install_command(packages: Iterable[str]) -> str:
    """Return the command with which this user installs these packages."""
    install = f"apt-get install --no-install-recommends {' '.join(packages)}"
    sudo = "" if is_root() else "sudo "
    return f"{sudo}{install}" if has_lists() else f"{sudo}apt-get update && {sudo}{install}"


async def compiler_packages() -> tuple[str, ...]:
    """Return the packages of the newest compiler that the distribution offers, with cargo, sources and a linker.

    Empty if no compiler is recent enough. Without package lists, the choice depends on the release of Debian.
    """
    if not has_lists():
        # An unreleased Debian has a name such as forky/sid instead of a number.
        number = re.match(r"\d+", Path("/etc/debian_version").read_text())
        return (_WEB if number and int(number[0]) < _FIRST_RECENT_RELEASE else _PLAIN) + _LINKER
    versions_of = await offered(_PLAIN + _WEB)
    # Debian 13 has both: rustc is older and its sources lack their dependencies; rustc-web, for browsers, is recent.
    names = max((_PLAIN, _WEB), key=lambda names: versions_of.get(names[0], (0,)))
    compiler, sources = (versions_of.get(names[index], (0,)) for index in (0, 2))
    return names + _LINKER if compiler == sources and compiler >= OLDEST else ()


async def offered(names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Return the version of each package that the distribution would install, without the packages that it lacks."""
    policy = await capture(["apt-cache", "policy", *names], env=_env())
    return {name: release(version) for name, version in _CANDIDATE.findall(policy.output)}


async def libraries(packages: Iterable[str]) -> list[str]:
    """Return the libraries that these packages depend on, directly or not, and that are not installed."""
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
    """Download package files into a folder; return True if that worked. Does not need root's rights."""
    return await _apt(["download", *packages], say, cwd=folder)


async def unpack(package: Path, folder: Path) -> bool:
    """Unpack a package file into a folder without installing it; return True if that worked."""
    return (await capture(["dpkg", "--extract", package, folder], seconds=120)).code == 0


async def update(say: Say) -> bool:
    """Download the package lists; return True if that worked."""
    say("Fetching the distribution's package lists: apt-get update")
    return await _apt(["update"], say)


async def install(packages: Iterable[str], say: Say) -> bool:
    """Install packages without removing any; return True if that worked.

    Announces the packages and the size of the download first. Downloads the package lists if there are none or if the
    installation fails because they are stale, and completes an interrupted installation.
    """
    names = tuple(packages)
    argv = ["install", "--yes", "--no-install-recommends", "--no-remove", *names]
    fetched = not has_lists() and await update(say)
    uris = await capture(["apt-get", "-qq", "--print-uris", *argv], env=_env())
    megabytes = sum(int(size) for size in _URI.findall(uris.output)) / 1e6 if uris.code == 0 else 0
    size = f" ({megabytes:.0f} MB to download)" if megabytes else ""
    say(f"Installing the distribution's packages: {' '.join(names)}{size}")
    if has_lists() and await _apt(argv, say):
        return True
    return not fetched and await update(say) and await _apt(argv, say)


def has_lists() -> bool:
    """Return True if package lists have been downloaded."""
    return any(not file.name.startswith("debootstrap.") for file in _LISTS.glob("*_Packages*"))


async def _apt(arguments: list[str], say: Say, cwd: Path | None = None) -> bool:
    errors: list[str] = []
    async with progress(say) as shown:

        def line(text: str) -> None:
            if match := _STEP.match(text):
                package = match[2].partition(" ")[0].partition(":")[0]
                step = "downloading packages" if match[1].startswith("Get:") else f"{match[1].lower()} {package}"
                shown.step(step)
            elif text.startswith("E: "):
                errors.append(text.removeprefix("E: "))

        # The lock timeout waits for another apt. The program's timeout is long, because apt should not be interrupted.
        options = ["-q", "-o", "DPkg::Lock::Timeout=120"]
        code = await stream(["apt-get", *options, *arguments], line, env=_env(), cwd=cwd, seconds=1800)
    if any(_INTERRUPTED in error for error in errors):
        say("An earlier installation was interrupted. Completing it: dpkg --configure -a")
        repaired = await capture(["dpkg", "--configure", "-a"], env=_env(), seconds=600)
        return repaired.code == 0 and await _apt(arguments, say, cwd)
    for error in errors[:1]:
        say(f"  apt-get: {error}")
    return code == 0


def _env() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
