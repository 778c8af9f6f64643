"""The protocols of an engine: ``Engine`` runs jobs, ``Inventory`` tells what the machine of the runs has.

All that crosses them is frozen data with JSON both ways. ``local.py`` runs jobs on this machine.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.binary import Card
from app.protocol.events import Artifact, Event, Verdict
from app.protocol.job import JobSpec, RunPhase, RunStatus
from app.protocol.machine import TargetStatus, ToolchainInfo
from app.stepper import Trace
from app.toolchain import DoctorReport

__all__ = [
    "ArtifactDetails",
    "ArtifactFile",
    "EarlierArtifact",
    "Engine",
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
"""Awaited by an engine with a run's job, its events and its verdict, before any reader sees that verdict."""


@dataclass(frozen=True)
class HelloWorldSize:
    """The std hello world of a toolchain and a profile: its size in bytes."""

    bytes: int
    toolchain: str
    profile: str


@dataclass(frozen=True)
class EarlierArtifact:
    """An earlier binary: its run, the course and lesson of that run, and its card."""

    run_id: str
    course: str
    lesson: str
    card: Card


@dataclass(frozen=True)
class ArtifactDetails:
    """A look into what a run built. ``std`` is None where nothing is measured, or not yet."""

    run_id: str
    job: JobSpec
    artifact: Artifact
    card: Card
    std: HelloWorldSize | None
    earlier: tuple[EarlierArtifact, ...]


@dataclass(frozen=True)
class ArtifactFile:
    """The artifact of a run: the path where cargo had put it, and its size."""

    path: str
    bytes: int


class NoSuchRunError(LookupError):
    """No run of that id is kept here: it never was, or it has expired."""


class NothingBuiltError(LookupError):
    """The earlier run that a job refers to left no artefact, or is not kept any more."""


class QueueFullError(RuntimeError):
    """As many runs wait as may wait."""


class OwnerQueueFullError(QueueFullError):
    """As many runs of one owner wait as may wait of one."""


class Engine(Protocol):
    """Runs jobs and keeps their events for a while.

    Each accepted run ends with exactly one verdict, also when the engine or its machine is lost: such a run, if it
    cannot begin again, ends with ``finished: failed`` and the reason ``engine-lost``.
    """

    async def health(self) -> str:
        """Return ``ok``, or a sentence that says why runs do not work."""

    async def warm(self) -> None:
        """Learn ahead what the first run with each toolchain would have to wait for."""

    async def stop(self) -> None:
        """Cancel every run; the streams of their readers end."""

    async def submit(self, job: JobSpec) -> str:
        """Queue a job and return the run's id. Raises ``QueueFullError`` (or of one owner), ``NothingBuiltError``.

        A run that has to wait for a target first lines up afterwards, and counts as not ``attended``: it may outlast
        its page, because without scripts nobody follows it meanwhile.
        """

    async def note_presence(self, owner: str | None) -> None:
        """Note that an owner in the queue's sense is present: it asked for a page, a stream or a run."""

    async def status(self, run_id: str) -> RunStatus:
        """Return where the run stands. Raises ``NoSuchRunError``."""

    def events(self, run_id: str, after_id: int = 0) -> AsyncIterator[Event]:
        """Yield the run's events from ``after_id`` + 1 on, as they come; end after the verdict.

        Raises ``NoSuchRunError``, also in the middle when the run is dropped. May be followed any number of times,
        also by several readers.
        """

    async def cancel(self, run_id: str) -> None:
        """End the run and its whole process tree; its log still closes with finished and verdict.

        Raises ``NoSuchRunError``; cancelling a run that is done does nothing.
        """

    async def forget(self, owner: str) -> None:
        """Cancel the owner's runs and drop their events and artefacts."""

    async def artifact(self, run_id: str) -> ArtifactFile:
        """Return what the run built. Raises ``NoSuchRunError``, ``NothingBuiltError``."""

    def artifact_bytes(self, run_id: str) -> AsyncGenerator[bytes]:
        """Yield the file that the run built, in pieces. Raises ``NoSuchRunError``, ``NothingBuiltError``."""

    async def steps(self, run_id: str) -> Trace:
        """Return what the run built, or started without building it, step by step.

        Raises ``NoSuchRunError``, ``NothingBuiltError``, ``NotSteppedError``.
        """

    async def card(self, run_id: str) -> Card | None:
        """Return the card of what the run built, None if it built nothing. Raises ``NoSuchRunError``."""

    async def artifact_details(self, run_id: str, since: str | None = None) -> ArtifactDetails:
        """Return a look into what the run built, partial rather than late.

        ``earlier`` are the owner's last binary of the same lesson and of the lesson before; or that of the run
        ``since``. Raises ``NoSuchRunError``, ``NothingBuiltError``.
        """


class Inventory(Protocol):
    """The compilers and targets of the machine that runs get, and the isolation."""

    @property
    def isolation(self) -> str:
        """The isolation level that runs get."""

    async def health(self) -> str:
        """Return ``ok`` if toolchains build for this computer and the essential targets, else a sentence."""

    async def toolchains(self, targets: Sequence[str] = ()) -> tuple[ToolchainInfo, ...]:
        """Return the toolchains that runs can use.

        While one of the essential targets or of ``targets`` is missing, the machine looks for it behind this answer.
        """

    async def offers(self, target: str | None) -> bool:
        """Return True if a lesson builds for the target, so that it may be set up on demand."""

    async def want(self, targets: Sequence[str]) -> None:
        """Have those of the targets set up that are missing."""

    async def target_statuses(self, targets: Sequence[str]) -> tuple[TargetStatus, ...]:
        """Return the state of each target."""

    async def explain(self, toolchain: str, code: str) -> str | None:
        """Return a toolchain's explanation of an error code as Markdown, None if it has none."""

    async def examine(self, name: str, targets: Sequence[str]) -> DoctorReport:
        """Return what is missing for the targets of the lesson ``name``, and the command that mends it."""

    async def missing_tools(self, needs: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
        """Return those programs that are not installed, and the command that installs them if one is known."""
