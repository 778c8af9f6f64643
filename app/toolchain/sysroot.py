"""Private sysroots: the compiler's own libraries as symbolic links, and the targets that were built here.

::

    CACHE/sysroots/system-4f1c9a02-1.96.0-ac68faa20/
        bin/rustc                        starts the compiler with --sysroot
        lib/rustlib/HOST                 the compiler's own, plus bin/rust-lld if it has none
        lib/rustlib/TARGET/lib/*.rlib    built here
        lib/rustlib/TARGET/recipe        how they were built

The folder's name contains the compiler's path (hashed), version and commit, so an upgraded compiler never uses
libraries of its predecessor. The wrapper is used only if a target was built.
"""

import hashlib
import os
import shlex
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from app.toolchain.model import Origin, Toolchain

_BUILT: Origin = "built"
_RECIPE = "2"
"""The version of how targets are built here. A target built by another recipe counts as missing and is rebuilt."""


@dataclass(frozen=True)
class PrivateSysroot:
    """The paths in one private sysroot, which may not exist yet."""

    folder: Path

    @property
    def wrapper(self) -> Path:
        """The value of ``RUSTC`` for builds with this sysroot."""
        return self.folder / "bin/rustc"

    def target(self, target: str) -> Path:
        """Return the folder of a target."""
        return self.folder / "lib/rustlib" / target

    def linker(self, host: str) -> Path:
        """Return the path at which the compiler looks for ``rust-lld``."""
        return self.target(host) / "bin/rust-lld"

    def built(self, host: str) -> list[str]:
        """Return the targets that were built here, or no targets if the wrapper or the linker is missing."""
        if not os.access(self.wrapper, os.X_OK) or not self.linker(host).exists():
            return []
        own = [name for name in targets_in(self.folder) if not self.target(name).is_symlink() and name != host]
        return [name for name in own if self._has_current_recipe(name)]

    def write_recipe(self, target: str) -> None:
        """Record how the target was built."""
        (self.target(target) / "recipe").write_text(_RECIPE)

    def _has_current_recipe(self, target: str) -> bool:
        try:
            return (self.target(target) / "recipe").read_text() == _RECIPE
        except OSError:
            return False


def place(toolchain: Toolchain, cache_dir: Path) -> PrivateSysroot:
    """Return the private sysroot of exactly this compiler."""
    key = f"{lineage(toolchain)}{toolchain.version}-{toolchain.commit[:9] or 'unknown'}"
    return PrivateSysroot(cache_dir / "sysroots" / key)


def lineage(toolchain: Toolchain) -> str:
    """Return the start of the folder's name, which is the same for all versions of the compiler at this path."""
    return f"{toolchain.source}-{hashlib.sha256(os.fsencode(toolchain.compiler)).hexdigest()[:8]}-"


def with_built_targets(toolchain: Toolchain, cache_dir: Path) -> Toolchain:
    """Return the toolchain with the targets that were built for it and, if there are any, with the wrapper."""
    private = place(toolchain, cache_dir)
    built = private.built(toolchain.host)
    if not built:
        return toolchain
    reachable = targets_in(private.folder)
    targets: dict[str, Origin] = {name: origin for name, origin in toolchain.targets.items() if name in reachable}
    return replace(toolchain, rustc=private.wrapper, targets=targets | dict.fromkeys(built, _BUILT))


def targets_in(sysroot: Path) -> list[str]:
    """Return the triples whose ``core`` is in a sysroot."""
    return sorted({library.parts[-3] for library in sysroot.glob("lib/rustlib/*/lib/libcore-*.rlib")})


def refresh(private: PrivateSysroot, toolchain: Toolchain) -> bool:
    """Link the compiler's new targets, such as one that rustup added; return True if there were any."""
    rustlib = private.folder / "lib/rustlib"
    if not rustlib.is_dir():
        return False
    gained = [entry for entry in _own_libraries(toolchain).iterdir() if not os.path.lexists(rustlib / entry.name)]
    for entry in gained:
        with suppress(OSError):  # the folder is read-only, or another set-up made the link
            (rustlib / entry.name).symlink_to(entry)
    return bool(gained)


def create_sysroot(private: PrivateSysroot, toolchain: Toolchain, linker: Path) -> None:
    """Make the links and the wrapper of a new private sysroot. Raises ``OSError``."""
    own = _own_libraries(toolchain)
    rustlib = private.folder / "lib/rustlib"
    rustlib.mkdir(parents=True)
    for entry in own.iterdir():
        if entry.name != toolchain.host:
            (rustlib / entry.name).symlink_to(entry)
    host = private.target(toolchain.host)
    host.mkdir()
    for entry in (own / toolchain.host).iterdir():
        (host / entry.name).symlink_to(entry)
    if not private.linker(toolchain.host).exists():
        private.linker(toolchain.host).parent.mkdir(exist_ok=True)
        private.linker(toolchain.host).symlink_to(linker)
    private.wrapper.parent.mkdir()
    # The wrapper finds its sysroot by its own path, because the folder is renamed when it is complete.
    private.wrapper.write_text(
        f'#!/bin/sh\nhere=${{0%/bin/*}}\nexec {shlex.quote(str(toolchain.compiler))} --sysroot "$here" "$@"\n'
    )
    private.wrapper.chmod(0o755)


def _own_libraries(toolchain: Toolchain) -> Path:
    return toolchain.sysroot / "lib/rustlib"
