"""The announcement of a worker, as data for the web."""

import hashlib
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from app.protocol.machine import TargetStatus, ToolchainInfo


class WorkerInfo(BaseModel):
    """A worker process: the runs that it can execute, and how many at once.

    ``courses`` maps the ids of its courses to their digests. ``isolation`` is the level of its runs. ``health`` and
    ``toolchain_health`` are ``ok`` or a sentence. ``pending`` has the targets that it is setting up, or failed to. A
    ``draining`` worker takes no further runs. ``busy`` runs are in progress; ``counts`` has the number of runs that it
    has ``taken``, ``taken_over`` from a lost worker, lost to another one (``fenced``), and ``handed_back`` at its end.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    version: str
    courses: Mapping[str, str]
    isolation: str
    slots: int = Field(ge=0)
    toolchains: tuple[ToolchainInfo, ...]
    pending: tuple[TargetStatus, ...] = ()
    health: str = "ok"
    toolchain_health: str = "ok"
    draining: bool = False
    busy: int = Field(0, ge=0)
    counts: Mapping[str, int] = Field(default_factory=dict)

    @property
    def group(self) -> str:
        """The name of the group of workers that execute the same runs: a digest of everything a run depends on."""
        told = self.model_dump_json(include={"version", "courses", "isolation", "toolchains"})
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def has(self, toolchain: str) -> bool:
        """Return True if the worker has the toolchain of that name."""
        return any(one.name == toolchain for one in self.toolchains)


class Crew(BaseModel):
    """The workers elsewhere as the web sees them: whether their broker can be reached, and each with its state.

    A state is ``ready``, ``draining``, or ``refused``: the worker gets no runs, and the web's log says why.
    """

    model_config = ConfigDict(frozen=True)

    connected: bool
    reconnections: int
    workers: tuple[tuple[WorkerInfo, str], ...]
