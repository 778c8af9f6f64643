"""A job for an engine, and the status of its run."""

import secrets
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.protocol.command import Command
from app.protocol.events import Finished, Verdict

RunPhase = Literal["queued", "running", "done"]


def new_run_id() -> str:
    """Return an id of 128 random bits in hexadecimal."""
    return secrets.token_hex(16)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JobSpec(_Frozen):
    """Everything that one run needs: the whole crate as text, the command, the toolchain by its name.

    ``course`` and ``lesson`` name the goal. ``digest`` is the course's digest: a worker with another version of
    the course refuses the job instead of judging it by another goal.

    ``after`` is the id of an earlier run whose artifact is placed where cargo had put it. An ``attended`` run is
    cancelled when it has had no reader for a while, as after a page was closed.

    ``owner`` is the seat that may see the run; a run with None is open to everyone who knows its id. ``queue_owner`` is
    the owner in the queue: a seat, or the address of a request without a cookie. None is the command line on this
    machine, which has no limit of its own. An owner's waiting runs with the highest ``priority`` start first. With
    ``again``, the run really runs, even if the engine knows the answer of an identical one.
    """

    run_id: str = Field(default_factory=new_run_id)
    course: str
    digest: str
    lesson: str
    files: Mapping[str, str]
    command: Command
    toolchain: str
    after: str | None = None
    attended: bool = False
    owner: str | None = None
    queue_owner: str | None = None
    priority: int = 0
    again: bool = False

    @property
    def lock_owner(self) -> str:
        """The owner whose requests to read or draw the run are serialized."""
        return self.owner or self.queue_owner or ""


class RunStatus(_Frozen):
    """The status of a run. ``finished`` and ``verdict`` are set once these events exist.

    ``job.toolchain`` is the one that executes the run: another than requested, if only that one has the target.
    ``seconds`` is the time since the run started, 0 before. A ``preparing`` run waits for a target to be set up.
    ``timing`` has the milliseconds that each stage of the run took, in order.
    """

    id: str
    state: RunPhase
    job: JobSpec
    finished: Finished | None = None
    verdict: Verdict | None = None
    seconds: float = 0.0
    preparing: bool = False
    timing: Mapping[str, float] = Field(default_factory=dict)
