"""The type ``Toolchain``, and the choice between several."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from app.course.facts import in_range
from app.course.lesson import Lesson
from app.protocol.machine import ToolchainInfo

Origin = Literal["shipped", "rustup", "built", "distribution"]
"""The origin of a target's ``core``: shipped with the compiler, installed by rustup, built here, or a package."""

Source = Literal["rustup", "system", "era"]
"""Where a toolchain was found: in rustup's folder, on ``PATH``, or unpacked in the cache folder."""

_Target = TypeVar("_Target", bound="str | None")


class _AnyToolchain(Protocol):
    """A ``Toolchain``, or a ``ToolchainInfo`` without paths."""

    @property
    def version(self) -> str: ...
    @property
    def stable(self) -> bool: ...
    @property
    def release(self) -> tuple[int, ...]: ...
    def can_build(self, target: str | None) -> bool: ...


_Builder = TypeVar("_Builder", bound=_AnyToolchain)


@dataclass(frozen=True)
class Toolchain:
    """One compiler with its own cargo.

    ``name`` is the version in two parts (``1.96``), ``version`` the full one (``1.96.0``), and ``commit`` the
    compiler's commit hash or ``""``. ``cargo`` is the real program, not rustup's shim. ``rustc`` is the value for
    ``RUSTC``: the compiler, or a wrapper that passes it ``--sysroot``. ``compiler`` is the compiler itself, ``sysroot``
    the folder that has its ``lib/rustlib``. ``targets`` maps the triples that it can build for to their origins.
    ``env`` holds variables that its programs need, such as ``LD_LIBRARY_PATH``.
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
        """The version as numbers, so that 1.100 is newer than 1.96, without a channel's suffix."""
        return release(self.version)

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders that a build with this toolchain reads, besides the system's."""
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
            name=self.name,
            version=self.version,
            commit=self.commit,
            stable=self.stable,
            host=self.host,
            targets=self.targets,
        )

    def can_build(self, target: str | None) -> bool:
        """Return True if ``core`` for this triple is installed. None means the host."""
        return (target or self.host) in self.targets


@dataclass(frozen=True)
class Flaw:
    """A compiler that does not work; ``reason`` is one sentence."""

    path: Path
    reason: str


def release(version: str) -> tuple[int, ...]:
    """Parse a version: ``1.97.0-nightly`` becomes ``(1, 97, 0)``. Raises ``ValueError``."""
    return tuple(int(part) for part in version.partition("-")[0].split("."))


def missing(toolchains: Sequence[_AnyToolchain], targets: Iterable[_Target]) -> tuple[_Target, ...]:
    """Return the targets that none of the toolchains can build for, without duplicates. None means the host."""
    wanted = dict.fromkeys(targets)
    return tuple(target for target in wanted if not any(one.can_build(target) for one in toolchains))


def default_toolchain(toolchains: Sequence[_Builder], lesson: Lesson) -> _Builder | None:
    """Return the toolchain that runs the lesson unless a learner chooses another one."""
    return preferred(toolchains, lesson.target, *lesson.further_targets, versions=lesson.compilers)


def preferred(
    toolchains: Sequence[_Builder], target: str | None, *further: str, versions: str | None = None
) -> _Builder | None:
    """Return the best toolchain for the targets, or None if there are no toolchains.

    Preferred are, in this order: a toolchain that can build for ``target``, for all ``further`` targets, in the range
    ``versions``, a stable one, the newest one.
    """

    def rank(toolchain: _Builder) -> tuple[bool, bool, bool, bool, tuple[int, ...]]:
        complete = all(toolchain.can_build(each) for each in further)
        in_versions = not versions or in_range(toolchain.version, versions)
        return (toolchain.can_build(target), complete, in_versions, toolchain.stable, toolchain.release)

    return max(toolchains, key=rank, default=None)
