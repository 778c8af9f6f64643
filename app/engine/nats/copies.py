"""The web's copies of runs: made when a run is accepted or first asked for, and kept up with the broker."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import anyio
from nats.aio.msg import Msg

from app.engine import EngineUnavailableError, NoSuchRunError, OnVerdict
from app.engine.nats import subjects
from app.engine.nats.broker import Broker, sequence_of, subject_of
from app.engine.nats.mirror import Mirror
from app.engine.nats.runlog import Lease, events_of, in_order, known, lease_of
from app.engine.retention import surplus
from app.engine.supervisor import Supervisor
from app.protocol.events import Event
from app.protocol.job import JobSpec

_log = logging.getLogger(__name__)


class Copies:
    """The copies by the ids of their runs.

    ``send`` takes what the web says of a run, ``begun`` is called when a worker has taken it, and ``ended`` once it has
    ended. ``on_verdict`` is awaited before a verdict becomes visible.
    """

    def __init__(
        self,
        broker: Broker,
        tasks: Supervisor,
        on_verdict: OnVerdict,
        send: Callable[[Mirror, Event], None],
        begun: Callable[[Mirror], None],
        ended: Callable[[Mirror], None],
    ) -> None:
        self._broker = broker
        self._tasks = tasks
        self._on_verdict = on_verdict
        self._send = send
        self._begun = begun
        self._ended = ended
        self._runs: dict[str, Mirror] = {}
        self._loading = anyio.Lock()

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._runs

    def new(self, job: JobSpec) -> Mirror:
        """Return the copy of a new run."""
        run = self._runs[job.run_id] = Mirror(job, self._send)
        run.certain = True
        return run

    def all(self) -> list[Mirror]:
        """Return every copy."""
        return list(self._runs.values())

    def active(self) -> list[Mirror]:
        """Return the copies of runs that have not ended."""
        return [run for run in self._runs.values() if run.state != "done"]

    async def get(self, run_id: str) -> Mirror:
        """Return a run, from the broker if need be. Raises ``NoSuchRunError``, ``EngineUnavailableError``."""
        if run_id in self._runs:
            return self._runs[run_id]
        if not subjects.is_run_id(run_id):
            raise NoSuchRunError(run_id)
        async with self._loading:
            return self._runs.get(run_id) or await self._load(run_id)

    def before(self, run: Mirror) -> list[Mirror]:
        """Return the owner's last runs with an artifact before this one: of the same lesson, and of any other."""
        found: dict[bool, Mirror] = {}
        own = [one for one in self.all() if run.job.owner is not None and one.job.owner == run.job.owner]
        for one in sorted(own, key=lambda one: -one.accepted):
            if one.files and one.accepted < run.accepted:
                found.setdefault((one.job.course, one.job.lesson) == (run.job.course, run.job.lesson), one)
        return [found[same] for same in (True, False) if same in found]

    async def on_events(self, msg: Msg) -> None:
        """Take events that the broker has stored."""
        run = self._runs.get(_run_of(msg))
        if run is not None:
            events, built = in_order([msg])
            run.files = built or run.files
            if not self.take(run, events):
                self._tasks.start_soon(self.replay, run)

    async def on_lease(self, msg: Msg) -> None:
        """Note who writes to a log from now on."""
        run = self._runs.get(_run_of(msg))
        if run is not None:
            self._note_lease(run, lease_of(msg))

    def _note_lease(self, run: Mirror, lease: Lease | None) -> None:
        if lease is not None and lease != run.lease:
            run.lease = lease
            self._begun(run)

    def take(self, run: Mirror, events: Sequence[Event]) -> bool:
        """Append events; return False if some before them are missing. A verdict is stored before it is appended."""
        complete = run.take(events)
        if run.ending and not run.closing:
            run.closing = True
            self._tasks.start_soon(self._close, run)
        return complete

    async def replay(self, run: Mirror) -> None:
        """Read a log at the broker, because a message of it may have been missed."""
        with suppress(EngineUnavailableError):
            self._note_lease(run, (await known(self._broker, run.id)).lease)
            events, built = await events_of(self._broker, run.id)
            run.files = built or run.files
            self.take(run, events)

    async def unstored(self) -> list[Mirror]:
        """Return the accepted runs whose progress is not noted as stored. Of those that ended, it is stored now."""
        stored = {name.split(".")[1] for name in await self._broker.names("run.*.stored")}
        accepted = [name.split(".")[1] for name in await self._broker.names("run.*.spec.*")]
        runs = [await self.get(run_id) for run_id in accepted if run_id not in stored]
        self._tasks.start_soon(self._load_stored, [run_id for run_id in accepted if run_id in stored])
        return [run for run in runs if not run.ending and run.state != "done"]

    async def _load_stored(self, run_ids: Sequence[str]) -> None:
        """Copy the runs of an earlier web, so that their age and their room count."""
        for run_id in run_ids:
            with suppress(NoSuchRunError, EngineUnavailableError):
                await self.get(run_id)

    async def drop(self, run_id: str) -> None:
        """Delete a run and its artifact, also at the workers."""
        async with self._loading:  # a reader that asks meanwhile must not load it once more
            run = self._runs.pop(run_id, None)
            if run is not None:
                run.drop()
            await self._broker.purge(subjects.RUNS, f"run.{run_id}.>")
            await self._broker.purge(subjects.BUILT, f"built.{run_id}.>")
        # Only now, because a worker that is asked for the run gets it from the broker.
        await self._broker.tell(subjects.forgotten(run_id))

    def refuse(self, run_id: str) -> None:
        """Remove a run that is not accepted because the broker was away; it may have been stored all the same."""
        self._runs.pop(run_id, None)
        self._tasks.start_soon(self._purge_refused, run_id)

    async def _purge_refused(self, run_id: str) -> None:
        while True:
            with suppress(EngineUnavailableError):
                await self.drop(run_id)
                return
            await anyio.sleep(1)

    async def expire(self, ttl: float) -> None:
        """Delete the runs that ended more than ``ttl`` seconds ago, and those that take too much room."""
        now = time.monotonic()
        old = [run for run in self._runs.values() if run.state == "done" and now - run.idle_since > ttl]
        for run in old:
            await self.drop(run.id)
        for run_id in [run.id for run in surplus(self._runs.values())]:
            await self.drop(run_id)

    async def _load(self, run_id: str) -> Mirror:
        found = await known(self._broker, run_id)
        if found.job is None:
            raise NoSuchRunError(run_id)
        run = Mirror(JobSpec.model_validate_json(found.job.data), self._send)
        run.accepted = sequence_of(found.job)
        run.lease, run.closing, run.unwanted = found.lease, found.progress_stored, found.cancelled
        events, run.files = await events_of(self._broker, run_id)
        # Only now, because a copy without its log would look like a run that waits, and never end if this is cancelled.
        self._runs[run_id] = run
        self.take(run, events)
        if found.progress_stored and run.ending:
            run.close(stored=True)
        elif not run.ending:
            # For what was stored while the log was read, or is not known yet to the broker that answered.
            run.closing = False
            self._tasks.start_soon(self.replay, run)
        return run

    async def _close(self, run: Mirror) -> None:
        """Have the progress stored, show the verdict, and note at the broker that the progress is stored."""
        assert run.ending
        self._ended(run)  # at once, because its worker waits for the next job
        stored = True
        try:
            await self._on_verdict(run.job, tuple(run.log), run.ending)
        except Exception:
            _log.exception("the progress of run %s could not be stored; the next start tries again", run.id)
            stored = False
        run.close(stored=stored)
        if stored:
            with suppress(EngineUnavailableError):
                # Waiting for an answer would cost as much again. If this is lost, the next start stores it anew.
                await self._broker.tell(subjects.of_run(run.id, "stored"))


def _run_of(msg: Msg) -> str:
    """Return the run of a message that the broker repeats."""
    return subject_of(msg).removeprefix(subjects.LIVE).split(".")[1]
