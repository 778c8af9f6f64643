"""A machine's compilers and targets, as the web needs to know them."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

TargetState = Literal["ready", "missing", "waiting", "building", "failed"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ToolchainInfo(_Frozen):
    """A toolchain without its paths. ``targets`` maps each triple that it builds for to how that came."""

    name: str
    version: str
    stable: bool
    host: str
    targets: Mapping[str, str]

    @property
    def release(self) -> tuple[int, ...]:
        """The version as numbers, so that 1.100 is newer than 1.96; a channel's suffix is left out."""
        return tuple(int(part) for part in self.version.partition("-")[0].split("."))

    def can_build(self, target: str | None) -> bool:
        """Return True if ``core`` for this triple exists; None is the host."""
        return (target or self.host) in self.targets


class TargetStatus(_Frozen):
    """The state of a target. ``missing``: nobody has asked for it yet.

    ``doing`` is the set-up's last line, ``seconds`` the time since the state began.
    """

    triple: str
    state: TargetState
    doing: str = ""
    seconds: int = 0

    @property
    def pending(self) -> bool:
        """Return True if the target is being set up."""
        return self.state in ("waiting", "building")
