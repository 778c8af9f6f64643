"""Where compilers may lie: rustup's folder, the unpacked one, and ``PATH``."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.toolchain.model import Source


@dataclass(frozen=True)
class Candidate:
    """A folder that holds both programs and may be a toolchain."""

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
    """Where to look, each real folder once: rustup's toolchains, the unpacked one, then ``PATH``."""
    places: dict[Path, Candidate] = {}
    for place in (*_rustup(), *_era(cache_dir), *_on_path()):
        places.setdefault(place.compiler.resolve(), place)
    return list(places.values())


def rustup_home() -> Path:
    """The folder that rustup keeps its toolchains in."""
    return Path(os.environ.get("RUSTUP_HOME") or user_home() / ".rustup")


def rustup_program() -> Path | None:
    """The ``rustup`` of this user, also when its folder is not on ``PATH``; None without one."""
    cargo_home = Path(os.environ.get("CARGO_HOME") or user_home() / ".cargo")
    found = shutil.which("rustup") or shutil.which("rustup", path=cargo_home / "bin")
    return Path(found) if found else None


def user_home() -> Path:
    """The user's folder, ``/`` for a user who has none."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


def _rustup() -> Iterator[Candidate]:
    # rustup itself lists its toolchains by reading this folder; reading it also works without rustup.
    for folder in _subfolders(rustup_home() / "toolchains"):
        yield Candidate(folder / "bin", "rustup", {})


def _era(cache_dir: Path) -> Iterator[Candidate]:
    for folder in _subfolders(cache_dir / "era"):
        yield unpacked(folder)


def unpacked(folder: Path) -> Candidate:
    """The candidate among a distribution's packages that were unpacked into a folder."""
    libraries = sorted((folder / "usr/lib").glob("*-linux-*"))
    return Candidate(folder / "usr/bin", "era", {"LD_LIBRARY_PATH": ":".join(map(str, libraries))})


def _on_path() -> Iterator[Candidate]:
    # /usr/bin also when PATH hides it: rustup's folder usually stands first and means another compiler.
    names = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/local/bin", "/usr/bin"]
    for name in dict.fromkeys(names):
        folder = Path(name)
        # os.access, because a folder on PATH may be closed to this user, which pathlib takes for an error.
        if folder.is_absolute() and os.access(folder / "rustc", os.X_OK) and not _is_shim(folder / "rustc"):
            yield Candidate(folder, "system", {})


def _is_shim(program: Path) -> bool:
    """Whether this is rustup under another name: a symbolic link, a hard link or a copy of it."""
    rustup = program.with_name("rustup")
    if program.resolve().stem == "rustup" or not rustup.is_file():
        return program.resolve().stem == "rustup"
    return program.samefile(rustup) or program.stat().st_size == rustup.stat().st_size


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []
