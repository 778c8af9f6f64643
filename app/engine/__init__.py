"""The protocols of an engine: ``Engine`` runs jobs, ``Inventory`` describes the machine that runs them.

Everything that crosses them is frozen data with JSON both ways. ``local.py`` runs jobs on this machine.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.binary import Card
from app.protocol.events import Artifact, Event, Verdict
from app.protocol.job import JobSpec, RunPhase, RunStatus
from app.protocol.machine import TargetStatus, ToolchainInfo
from app.protocol.worker import Crew
from app.stepper import Trace
from app.toolchain import DoctorReport

__all__ = [
    "ArtifactDetails",
    "ArtifactFile",
    "EarlierArtifact",
    "Engine",
    "EngineUnavailableError",
    "HelloWorldSize",
    "Inventory",
    "JobSpec",
    "NoSuchRunError",
    "NothingBuiltError",
    "OnVerdict",
    "OwnerQueueFullError",
    "QueueFullError",
    "RunPhase",
    "RunStatus",
]

OnVerdict = Callable[[JobSpec, Sequence[Event], Verdict], Awaitable[None]]
"""An engine awaits it with a run's job, events and verdict before any reader gets the verdict."""


@dataclass(frozen=True)
class HelloWorldSize:
    """The size in bytes of the std hello world, built by a toolchain with a profile."""

    bytes: int
    toolchain: str
    profile: str


@dataclass(frozen=True)
class EarlierArtifact:
    """The artifact of an earlier run: the run, its course and lesson, and the card."""

    run_id: str
    course: str
    lesson: str
    card: Card


@dataclass(frozen=True)
class ArtifactDetails:
    """The artifact of a run with its card. ``std`` is None if the std program was not measured, or not yet."""

    run_id: str
    job: JobSpec
    artifact: Artifact
    card: Card
    std: HelloWorldSize | None
    earlier: tuple[EarlierArtifact, ...]


@dataclass(frozen=True)
class ArtifactFile:
    """The artifact of a run as a file: its path in the crate, and its size."""

    path: str
    bytes: int


class NoSuchRunError(LookupError):
    """There is no run of that id, or it has expired."""


class NothingBuiltError(LookupError):
    """The run has built nothing, or its artifact has expired."""


class EngineUnavailableError(RuntimeError):
    """The engine is elsewhere and cannot be reached at the moment."""


class QueueFullError(RuntimeError):
    """The queue is full."""


class OwnerQueueFullError(QueueFullError):
    """The owner has as many waiting runs as one owner may have."""


class Engine(Protocol):
    """Runs jobs and keeps their events for a while.

    Each accepted run ends with exactly one verdict. If the engine or its machine is lost and the run cannot begin
    again, it ends with ``finished: failed`` and the reason ``engine-lost``.
    """

    async def health(self) -> str:
        """Return ``ok``, or a sentence that says why runs do not work."""

    def interruption(self) -> str | None:
        """Return a sentence for learners if no events can come at the moment; ``""`` if they can.

        None: that never happens, because this process executes the runs.
        """

    async def warm(self) -> None:
        """Prepare what the first run with each toolchain would otherwise have to wait for."""

    async def stop(self) -> None:
        """End the streams of all readers, because the server stops.

        A run that needs this process, and cannot end by itself in a moment, ends with ``finished: cancelled`` and the
        reason ``restarted``. Others go on.
        """

    async def submit(self, job: JobSpec) -> str:
        """Queue a job and return the run's id. Raises ``QueueFullError`` (or of one owner), ``NothingBuiltError``.

        Raises ``EngineUnavailableError`` if the engine is elsewhere and cannot be reached; the run is not accepted.

        A run that needs a missing target is queued once the target is set up, and counts as not ``attended``: without
        scripts no page follows it meanwhile.
        """

    async def note_presence(self, owner: str | None) -> None:
        """Note that an owner (``JobSpec.queue_owner``) is present: it asked for a page, a stream or a run."""

    async def status(self, run_id: str) -> RunStatus:
        """Return the status of a run. Raises ``NoSuchRunError``."""

    def events(self, run_id: str, after_id: int = 0) -> AsyncIterator[Event]:
        """Yield the run's events from ``after_id`` + 1 on, as they come; end after the verdict.

        Raises ``NoSuchRunError``, also in the middle when the run is dropped. Any number of readers may follow.
        """

    async def cancel(self, run_id: str) -> None:
        """End the run and its whole process tree. Its log still ends with ``finished`` and the verdict.

        Raises ``NoSuchRunError``. Does nothing if the run is done.
        """

    async def forget(self, owner: str) -> None:
        """Cancel the owner's runs and drop their events and artifacts."""

    async def artifact(self, run_id: str) -> ArtifactFile:
        """Return the run's artifact. Raises ``NoSuchRunError``, ``NothingBuiltError``."""

    def artifact_bytes(self, run_id: str) -> AsyncGenerator[bytes]:
        """Yield the content of the run's artifact in pieces. Raises ``NoSuchRunError``, ``NothingBuiltError``."""

    async def steps(self, run_id: str) -> Trace:
        """Return the trace of the program that the run built, or started without building it.

        Raises ``NoSuchRunError``, ``NothingBuiltError``, ``NotSteppedError``.
        """

    async def card(self, run_id: str) -> Card | None:
        """Return the card of the run's artifact, or None if it has none. Raises ``NoSuchRunError``."""

    async def artifact_details(self, run_id: str, since: str | None = None) -> ArtifactDetails:
        """Return the details of the run's artifact. A card may be incomplete rather than late.

        ``earlier`` has the owner's last artifacts of the same lesson and of the lesson before, or that of the run
        ``since``. Raises ``NoSuchRunError``, ``NothingBuiltError``.
        """


class Inventory(Protocol):
    """The compilers, targets and isolation on the machine of the runs."""

    @property
    def isolation(self) -> str:
        """The isolation level of runs."""

    async def health(self) -> str:
        """Return ``ok`` if toolchains build for this computer and the essential targets, else a sentence."""

    async def toolchains(self, targets: Sequence[str] = ()) -> tuple[ToolchainInfo, ...]:
        """Return the toolchains that runs can use.

        If one of the essential targets or of ``targets`` is missing, the machine looks for it after this answer.
        """

    async def offers(self, target: str | None) -> bool:
        """Return True if a lesson builds for the target, so that it may be set up on demand."""

    async def want(self, targets: Sequence[str]) -> None:
        """Have the missing ones of the targets set up."""

    async def target_statuses(self, targets: Sequence[str]) -> tuple[TargetStatus, ...]:
        """Return the state of each target."""

    async def explain(self, toolchain: str, code: str) -> str | None:
        """Return a toolchain's explanation of an error code as Markdown, or None if it has none."""

    async def examine(self, name: str, targets: Sequence[str]) -> DoctorReport:
        """Return what is missing for the targets of the lesson ``name``, and the command that installs it."""

    async def missing_tools(self, needs: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
        """Return those of the programs that are not installed, and the command that installs them if one is known."""

    async def crew(self) -> Crew | None:
        """Return the worker processes elsewhere, or None if this process executes the runs."""


async def has_built(engine: Engine, run_id: str) -> bool:
    """Return True if the run left an artifact. Raises ``NoSuchRunError``."""
    try:
        await engine.artifact(run_id)
    except NothingBuiltError:
        return False
    return True
