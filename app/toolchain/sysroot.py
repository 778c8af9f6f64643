"""A private sysroot: the compiler's own libraries by symbolic links, and the targets that were built here.

::

    CACHE/sysroots/system-4f1c9a02-1.96.0-ac68faa20/
        bin/rustc                        starts the compiler with --sysroot
        lib/rustlib/HOST                 the compiler's own, plus bin/rust-lld where it has none
        lib/rustlib/TARGET/lib/*.rlib    built here
        lib/rustlib/TARGET/recipe        how they were built

The folder's name holds the compiler's place, version and commit, so an upgraded compiler never meets
libraries of its predecessor. The wrapper is used only when a target was built.
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
"""How targets are built here. A target that was built in another way counts as missing and is built anew."""


@dataclass(frozen=True)
class PrivateSysroot:
    """The folders of one private sysroot; it may not exist yet."""

    folder: Path

    @property
    def wrapper(self) -> Path:
        """What ``RUSTC`` is when this sysroot is used."""
        return self.folder / "bin/rustc"

    def target(self, target: str) -> Path:
        """Where the libraries of a target belong."""
        return self.folder / "lib/rustlib" / target

    def linker(self, host: str) -> Path:
        """What the compiler finds when it looks for the program ``rust-lld``."""
        return self.target(host) / "bin/rust-lld"

    def built(self, host: str) -> list[str]:
        """The targets that were built here and can be linked; empty when any part has gone."""
        if not os.access(self.wrapper, os.X_OK) or not self.linker(host).exists():
            return []
        own = [name for name in targets_in(self.folder) if not self.target(name).is_symlink() and name != host]
        return [name for name in own if self._signed(name)]

    def sign(self, target: str) -> None:
        """Write down how the target was built."""
        (self.target(target) / "recipe").write_text(_RECIPE)

    def _signed(self, target: str) -> bool:
        try:
            return (self.target(target) / "recipe").read_text() == _RECIPE
        except OSError:
            return False


def place(toolchain: Toolchain, cache_dir: Path) -> PrivateSysroot:
    """The private sysroot that belongs to exactly this compiler."""
    key = f"{lineage(toolchain)}{toolchain.version}-{toolchain.commit[:9] or 'unknown'}"
    return PrivateSysroot(cache_dir / "sysroots" / key)


def lineage(toolchain: Toolchain) -> str:
    """The start of the key, the same for all compilers that ever stood in that place."""
    return f"{toolchain.source}-{hashlib.sha256(os.fsencode(toolchain.compiler)).hexdigest()[:8]}-"


def with_built_targets(toolchain: Toolchain, cache_dir: Path) -> Toolchain:
    """The toolchain as it can be used: through the wrapper once a target was built for it."""
    private = place(toolchain, cache_dir)
    built = private.built(toolchain.host)
    if not built:
        return toolchain
    reachable = targets_in(private.folder)
    targets: dict[str, Origin] = {name: came for name, came in toolchain.targets.items() if name in reachable}
    return replace(toolchain, rustc=private.wrapper, targets=targets | dict.fromkeys(built, _BUILT))


def targets_in(sysroot: Path) -> list[str]:
    """The triples whose ``core`` lies in a sysroot."""
    return sorted({library.parts[-3] for library in sysroot.glob("lib/rustlib/*/lib/libcore-*.rlib")})


def refresh(private: PrivateSysroot, toolchain: Toolchain) -> bool:
    """Link what the compiler has gained since, such as a target of rustup's; whether there was anything."""
    rustlib = private.folder / "lib/rustlib"
    if not rustlib.is_dir():
        return False
    gained = [entry for entry in _own(toolchain).iterdir() if not os.path.lexists(rustlib / entry.name)]
    for entry in gained:
        with suppress(OSError):  # read-only, or another set-up was faster
            (rustlib / entry.name).symlink_to(entry)
    return bool(gained)


def lay_out(private: PrivateSysroot, toolchain: Toolchain, linker: Path) -> None:
    """Make the links and the wrapper of an empty private sysroot; raises ``OSError``."""
    own = _own(toolchain)
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
    _write_wrapper(private.wrapper, toolchain)


def _write_wrapper(wrapper: Path, toolchain: Toolchain) -> None:
    wrapper.parent.mkdir()
    # From its own place, not a fixed path: the folder is built under another name and then renamed.
    wrapper.write_text(
        f'#!/bin/sh\nhere=${{0%/bin/*}}\nexec {shlex.quote(str(toolchain.compiler))} --sysroot "$here" "$@"\n'
    )
    wrapper.chmod(0o755)


def _own(toolchain: Toolchain) -> Path:
    return toolchain.sysroot / "lib/rustlib"
