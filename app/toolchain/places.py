"""The places where compilers may be: rustup's folder, the cache folder, and ``PATH``."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.toolchain.model import Source


@dataclass(frozen=True)
class Candidate:
    """A folder that may have the programs of a toolchain."""

    folder: Path
    source: Source
    env: Mapping[str, str]

    @property
    def compiler(self) -> Path:
        return self.folder / "rustc"

    @property
    def cargo(self) -> Path:
        return self.folder / "cargo"


def candidates(cache_dir: Path) -> list[Candidate]:
    """Return rustup's toolchains, those in the cache folder and those on ``PATH``, each compiler once."""
    # rustup itself lists this folder to find its toolchains. Reading it also works where rustup is not on PATH.
    rustup = [Candidate(folder / "bin", "rustup", {}) for folder in _subfolders(rustup_home() / "toolchains")]
    era = [unpacked_candidate(folder) for folder in _subfolders(cache_dir / "era")]
    found: dict[Path, Candidate] = {}
    for candidate in (*rustup, *era, *_on_path()):
        found.setdefault(candidate.compiler.resolve(), candidate)
    return list(found.values())


def rustup_home() -> Path:
    """Return rustup's home folder."""
    return Path(os.environ.get("RUSTUP_HOME") or user_home() / ".rustup")


def rustup_program() -> Path | None:
    """Return this user's ``rustup``, even if its folder is not on ``PATH``; None if there is none."""
    cargo_home = Path(os.environ.get("CARGO_HOME") or user_home() / ".cargo")
    found = shutil.which("rustup") or shutil.which("rustup", path=cargo_home / "bin")
    return Path(found) if found else None


def user_home() -> Path:
    """Return the user's home folder, or ``/`` for a user without one."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


def unpacked_candidate(folder: Path) -> Candidate:
    """Return the candidate in a folder that holds a distribution's unpacked packages."""
    libraries = sorted((folder / "usr/lib").glob("*-linux-*"))
    return Candidate(folder / "usr/bin", "era", {"LD_LIBRARY_PATH": ":".join(map(str, libraries))})


def _on_path() -> Iterator[Candidate]:
    # Not only PATH: the system's compiler is worth finding even if it is not on PATH.
    names = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/local/bin", "/usr/bin"]
    for name in dict.fromkeys(names):
        folder = Path(name)
        # pathlib would raise PermissionError for a folder on PATH that this user may not enter.
        if folder.is_absolute() and os.access(folder / "rustc", os.X_OK) and not _is_shim(folder / "rustc"):
            yield Candidate(folder, "system", {})


def _is_shim(program: Path) -> bool:
    """Return True if the program is rustup under another name: a symbolic link, a hard link or a copy."""
    rustup = program.with_name("rustup")
    if program.resolve().stem == "rustup":
        return True
    return rustup.is_file() and (program.samefile(rustup) or program.stat().st_size == rustup.stat().st_size)


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []
