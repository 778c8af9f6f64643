"""The web's copy of a run's log."""

import time
from collections.abc import Callable, Iterable

from app.engine.log import Run
from app.engine.nats.runlog import BrokerArtifact, Lease
from app.protocol.events import Event, Queued, Started, Verdict
from app.protocol.job import JobSpec, RunStatus


class Mirror(Run):
    """A run whose log the broker has. What the web itself says of it goes through ``send`` to the broker first."""

    def __init__(self, job: JobSpec, send: Callable[["Mirror", Event], None]) -> None:
        super().__init__(job)
        self._send = send
        self.accepted = 0
        """The sequence of its acceptance, by which runs are in order."""
        self.group = ""
        self.unsent: list[Event] = []
        self.wanted = False
        """The run has a slot, and its job goes to the workers next."""
        self.given: list[Event] = []
        """The web's event, at most one, that went with the job; the worker writes it before its own."""
        self.certain = False
        """The web has an answer to each event of its own, so the broker has no others before a worker begins."""
        self.sequence: int | None = None
        """The sequence of its job among those for workers."""
        self.lease: Lease | None = None
        self.files: BrokerArtifact | None = None
        self.ending: Verdict | None = None
        """The verdict, until its progress is stored."""
        self.pumping = self.closing = self.placed = False
        self.unwanted = self.cancel_sent = False
        """The run is to end; its worker, if it has one, was told so."""
        self.handed = 0
        """How often its job was taken back from the workers."""
        self.touched = self.served = time.monotonic()
        """When something was last heard of it, and when there last was a worker for it."""

    def emit(self, event: Event) -> None:
        """Have the broker store an event of the web's own. It appears in the log once that is done."""
        self._send(self, event)

    def take(self, events: Iterable[Event]) -> bool:
        """Append events that the broker has; return False if some before them are missing.

        A verdict is kept in ``ending`` until ``close``.
        """
        self.touched = time.monotonic()
        for event in events:
            if event.id <= len(self.log) or self.ending or self.state == "done":
                continue
            if event.id > len(self.log) + 1:
                return False
            if isinstance(event, Verdict):
                self.ending = event
                continue
            if not isinstance(event, Queued):
                self.state = "running"
            self.preparing = self.state == "running" and not self.begun and not isinstance(event, Started)
            super().emit(event)
        return True

    @property
    def begun(self) -> bool:
        """Return True if the run has started, so that it does not wait for a target any more."""
        return self.started is not None

    @property
    def built_bytes(self) -> int:
        """The size of the files that the run left at the broker."""
        return sum(file.size for file in self.files.files) if self.files else 0

    def close(self, *, stored: bool) -> None:
        """Append the verdict, which ends the log. ``stored`` says whether the progress is."""
        assert self.ending
        verdict, self.ending = self.ending.model_copy(update={"stored": stored}), None
        self.state, self.preparing = "done", False
        self.idle_since = time.monotonic()
        super().emit(verdict)

    def status(self) -> RunStatus:
        """Return the run's status."""
        found = super().status()
        return found if self.state == "done" else found.model_copy(update={"verdict": None})
