"""What a toolchain is to the rest of the program."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from app.course.facts import in_range
from app.course.lessons import Lesson
from app.protocol.machine import ToolchainInfo

Origin = Literal["shipped", "rustup", "built", "distribution"]
"""How a target's ``core`` came: with the compiler, by rustup, built here, or as a package."""

Source = Literal["rustup", "system", "era"]
"""Where a toolchain lives: in rustup's folder, on ``PATH``, or unpacked in the cache folder."""


_Target = TypeVar("_Target", bound="str | None")


class _Builds(Protocol):
    """A toolchain, with its paths or without."""

    @property
    def version(self) -> str: ...
    @property
    def stable(self) -> bool: ...
    @property
    def release(self) -> tuple[int, ...]: ...
    def can_build(self, target: str | None) -> bool: ...


_Builder = TypeVar("_Builder", bound=_Builds)


@dataclass(frozen=True)
class Toolchain:
    """One compiler with its own cargo; never mixed with another.

    ``name`` is the version in two parts (``1.96``), ``version`` in full (``1.96.0``), ``commit`` the
    compiler's commit hash or ``""``. ``cargo`` is the real program, not rustup's shim. ``rustc`` is what
    ``RUSTC`` must be: the compiler, or a wrapper that gives it ``--sysroot``. ``compiler`` is the
    compiler itself, ``sysroot`` its own library folder. ``targets`` maps each triple that can be built
    for to how it came. ``env`` holds variables that its programs need, such as ``LD_LIBRARY_PATH``.
    """

    name: str
    version: str
    stable: bool
    source: Source
    host: str
    cargo: Path
    rustc: Path
    compiler: Path
    sysroot: Path
    targets: Mapping[str, Origin]
    env: Mapping[str, str] = field(default_factory=dict)
    cargo_version: str = ""
    commit: str = ""

    @property
    def release(self) -> tuple[int, ...]:
        """The version as numbers, so that 1.100 is newer than 1.96; a channel's suffix is left out."""
        return release(self.version)

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders that a build with this toolchain reads, the distribution's own excepted."""
        prefixes = (self.rustc.parent.parent, self.compiler.parent.parent, self.cargo.parent.parent, self.sysroot)
        return tuple(dict.fromkeys(prefixes))

    @property
    def programs(self) -> tuple[Path, ...]:
        """The programs that a build starts."""
        return (self.cargo, self.rustc, self.compiler)

    @property
    def info(self) -> ToolchainInfo:
        """The toolchain without its paths."""
        return ToolchainInfo(
            name=self.name, version=self.version, stable=self.stable, host=self.host, targets=self.targets
        )

    def can_build(self, target: str | None) -> bool:
        """Whether ``core`` for this triple is there; None is the host."""
        return (target or self.host) in self.targets


@dataclass(frozen=True)
class Flaw:
    """A compiler that was found and is not offered; ``reason`` is one sentence."""

    path: Path
    reason: str


def release(version: str) -> tuple[int, ...]:
    """``1.97.0-nightly`` as ``(1, 97, 0)``; raises ``ValueError`` for what is no version."""
    return tuple(int(part) for part in version.partition("-")[0].split("."))


def missing(toolchains: Sequence[_Builds], targets: Iterable[_Target]) -> tuple[_Target, ...]:
    """Those of the targets that none of the toolchains builds for, each once; None is the host."""
    wanted = dict.fromkeys(targets)
    return tuple(target for target in wanted if not any(one.can_build(target) for one in toolchains))


def default_toolchain(toolchains: Sequence[_Builder], lesson: Lesson) -> _Builder | None:
    """Return the toolchain that runs the lesson unless a learner chooses another one."""
    return preferred(toolchains, lesson.target, *lesson.further_targets, versions=lesson.compilers)


def preferred(
    toolchains: Sequence[_Builder], target: str | None, *further: str, versions: str | None = None
) -> _Builder | None:
    """The newest toolchain that has the targets ready, a stable one before a nightly; else the newest of all.

    The first target counts more than all ``further`` ones, and a version in the range ``versions`` more than its
    age. ``None`` only when there is no toolchain at all.
    """

    def rank(toolchain: _Builder) -> tuple[bool, bool, bool, bool, tuple[int, ...]]:
        complete = all(toolchain.can_build(each) for each in further)
        meant = not versions or in_range(toolchain.version, versions)
        return (toolchain.can_build(target), complete, meant, toolchain.stable, toolchain.release)

    return max(toolchains, key=rank, default=None)
