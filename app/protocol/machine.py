"""The compilers and targets of the runs' machine, as data for the web."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

TargetState = Literal["ready", "missing", "waiting", "building", "failed"]


class _Frozen(BaseModel):
    # A worker of a newer version may say more.
    model_config = ConfigDict(frozen=True, extra="ignore")


class ToolchainInfo(_Frozen):
    """A toolchain without its paths.

    ``commit`` is the compiler's commit hash or ``""``. ``targets`` maps each triple that it builds for to the origin of
    its ``core``.
    """

    name: str
    version: str
    commit: str = ""
    stable: bool
    host: str
    targets: Mapping[str, str]

    @property
    def release(self) -> tuple[int, ...]:
        """Return the version as numbers, so that 1.100 is newer than 1.96. A channel's suffix is left out."""
        return tuple(int(part) for part in self.version.partition("-")[0].split("."))

    @property
    def title(self) -> str:
        """Return what people call it: the name, and that it is a nightly if it is not a stable release."""
        return compiler_title(self.name, stable=self.stable)

    def can_build(self, target: str | None) -> bool:
        """Return True if ``core`` for this triple exists; None is the host."""
        return (target or self.host) in self.targets


def compiler_title(name: str, *, stable: bool) -> str:
    """Return what people call a toolchain with this name."""
    return name if stable else f"{name} nightly"


class TargetStatus(_Frozen):
    """The state of a target. A ``missing`` one has not been asked for yet.

    ``doing`` is the last line of the set-up, ``seconds`` the time since the state began.
    """

    triple: str
    state: TargetState
    doing: str = ""
    seconds: int = 0

    @property
    def pending(self) -> bool:
        """Return True if the target is being set up."""
        return self.state in ("waiting", "building")
