"""A job for an engine, and where its run stands."""

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
    """All that one run needs: the whole crate as text, the command, the toolchain by its name.

    ``course`` and ``lesson`` name the goal. ``digest`` is the course's: a worker that has the course in another edition
    refuses the job instead of judging it by another goal.

    ``after`` is the id of an earlier run whose artifact is placed where cargo had put it. An ``attended`` run is
    cancelled when nobody has followed its events for a while, as after a page was closed.

    ``owner`` is the seat that may see the run, None for a run that is open to everyone who knows its id.
    ``queue_owner`` is the owner in the queue: a seat, or the address of a request without a cookie. None is the machine
    itself, which has no bound of its own. Of one owner's waiting runs those of the highest ``priority`` start first.
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

    @property
    def lock_owner(self) -> str:
        """The owner whose requests to read or draw the run are served one after the other."""
        return self.owner or self.queue_owner or ""


class RunStatus(_Frozen):
    """Where a run stands; ``finished`` and ``verdict`` are set once those events exist.

    ``job.toolchain`` is the one that runs it: another than was asked for when only that one has the target.
    ``seconds``: how long ago the run started, 0 before. ``preparing``: it waits for a target to be set up.
    """

    id: str
    state: RunPhase
    job: JobSpec
    finished: Finished | None = None
    verdict: Verdict | None = None
    seconds: float = 0.0
    preparing: bool = False
