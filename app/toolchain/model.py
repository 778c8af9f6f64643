"""What a toolchain is to the rest of the program."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Origin = Literal["shipped", "rustup", "built", "distribution"]
"""How a target's ``core`` came: with the compiler, by rustup, built here, or as a package."""


@dataclass(frozen=True)
class Toolchain:
    """One compiler with its own cargo; never mixed with another.

    ``name`` is the version in two parts (``1.96``), ``version`` in full (``1.96.0``). ``cargo`` is the
    real program, not rustup's shim. ``rustc`` is what ``RUSTC`` must be: the compiler, or a wrapper that
    gives it ``--sysroot``. ``compiler`` is the compiler itself. ``targets`` maps each triple that can be built for
    to how it came. ``env`` holds variables that its programs need, such as ``LD_LIBRARY_PATH``.
    """

    name: str
    version: str
    stable: bool
    source: Literal["rustup", "system", "era"]
    host: str
    cargo: Path
    rustc: Path
    compiler: Path
    sysroot: Path
    targets: Mapping[str, Origin]
    env: Mapping[str, str] = field(default_factory=dict)

    def can_build(self, target: str | None) -> bool:
        """Whether ``core`` for this triple is there; None is the host."""
        return (target or self.host) in self.targets


def preferred(toolchains: tuple[Toolchain, ...], target: str | None) -> Toolchain | None:
    """The newest toolchain that has the target ready, a stable one before a nightly; else the newest of all.

    ``None`` only when there is no toolchain at all.
    """

    def rank(toolchain: Toolchain) -> tuple[bool, bool, tuple[int, ...]]:
        release = tuple(int(part) for part in toolchain.version.split("-")[0].split("."))
        return (toolchain.can_build(target), toolchain.stable, release)

    return max(toolchains, key=rank, default=None)
