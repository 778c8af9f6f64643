"""What the web and the command line ask of an engine: submit, follow, cancel.

``local.py`` runs jobs on this machine; a distributed engine would keep the same protocol.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from app.binary import Card
from app.command import Command
from app.course.lessons import Lesson
from app.events import Artifact, Event, Finished, Verdict
from app.runner import Built
from app.stepper import Trace
from app.toolchain import Toolchain

State = Literal["queued", "running", "done"]

Prepare = Callable[[Callable[[str], None]], Awaitable[Toolchain]]
"""Waits for what a run needs; takes whom to tell each line, gives the toolchain that then has it."""


@dataclass(frozen=True)
class Job:
    """All that one run needs: the whole crate as text, the command, the toolchain.

    ``after`` is the id of an earlier run whose artefact is to lie where cargo put it. ``attended``: the
    run is cancelled when nobody has followed its events for a while (a page that was closed). ``owner`` is
    whoever may see the run, as the web names them; the engine only hands it back. ``prepare`` is awaited before the
    run takes its turn, and gives the toolchain in the end; what it says meanwhile stands in the run's output.
    ``queue_owner`` names whose turn in the queue the run takes: a seat, or the address of a request without a cookie;
    None, this machine itself, has no bound of its own.
    """

    lesson: Lesson
    files: Mapping[str, str]
    command: Command
    toolchain: Toolchain
    after: str | None = None
    attended: bool = False
    owner: str | None = None
    prepare: Prepare | None = None
    queue_owner: str | None = None

    @property
    def turn(self) -> str:
        """Whose turn it takes to read or draw what came of the run: the seat's, without one that of the address."""
        return self.owner or self.queue_owner or ""


@dataclass(frozen=True)
class RunStatus:
    """Where a run stands; ``finished`` and ``verdict`` are there once those events are.

    ``seconds``: how long ago it began, 0 when it has not.
    """

    id: str
    state: State
    job: Job
    finished: Finished | None
    verdict: Verdict | None
    seconds: float = 0.0


@dataclass(frozen=True)
class Std:
    """The std hello world of a toolchain and a profile: its size in bytes."""

    bytes: int
    toolchain: str
    profile: str


@dataclass(frozen=True)
class Earlier:
    """A binary that came before: of which run, in which lesson, and its card."""

    run_id: str
    lesson: Lesson
    card: Card


@dataclass(frozen=True)
class Inside:
    """A look into what a run built. ``std`` is None where nothing is measured, or not yet."""

    run_id: str
    job: Job
    artifact: Artifact
    card: Card
    std: Std | None
    earlier: tuple[Earlier, ...]


class NoSuchRunError(LookupError):
    """No run of that id is kept here: it never was, or it has expired."""


class NothingBuiltError(LookupError):
    """The earlier run that a job refers to left no artefact, or is not kept any more."""


class QueueFullError(RuntimeError):
    """As many runs wait as may wait."""


class OwnerQueueFullError(QueueFullError):
    """As many runs of one owner wait as may wait of one."""


class Engine(Protocol):
    """Runs jobs and keeps their events for a while."""

    @property
    def isolation(self) -> str:
        """The isolation level that runs get."""

    async def health(self) -> str:
        """``ok``, or a sentence that says why runs do not work."""

    async def stop(self) -> None:
        """Cancel every run; the streams of their readers end."""

    def submit(self, job: Job) -> str:
        """Queue a job; the run's id. Raises ``OwnerQueueFullError``, ``QueueFullError``, ``NothingBuiltError``."""

    def seen(self, owner: str | None) -> None:
        """Note that an owner in the queue's sense is present: it asked for a page, a stream or a run."""

    def status(self, run_id: str) -> RunStatus:
        """Where the run stands. Raises ``NoSuchRunError``."""

    def events(self, run_id: str, after_id: int = 0) -> AsyncIterator[Event]:
        """The run's events from ``after_id`` + 1 on, as they come; ends after the verdict.

        Raises ``NoSuchRunError``, also in the middle when the run is dropped. May be followed any number of times,
        also by several readers.
        """

    async def cancel(self, run_id: str) -> None:
        """End the run and its whole process tree; its log still closes with finished and verdict.

        Raises ``NoSuchRunError``; cancelling a run that is done does nothing.
        """

    async def forget(self, owner: str) -> None:
        """Cancel the owner's runs and drop their events and artefacts."""

    def artifact(self, run_id: str) -> Built:
        """The copy of what the run built and where cargo had put it.

        Raises ``NoSuchRunError``, ``NothingBuiltError``.
        """

    async def steps(self, run_id: str) -> Trace:
        """What the run built, step by step.

        Raises ``NoSuchRunError``, ``NothingBuiltError``, ``NotSteppedError``.
        """

    async def inside(self, run_id: str, since: str | None = None) -> Inside:
        """A look into what the run built, partial rather than late.

        ``earlier`` are the owner's last binary of the same lesson and of the lesson before; or that of the run
        ``since``. Raises ``NoSuchRunError``, ``NothingBuiltError``.
        """
