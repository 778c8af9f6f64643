"""The web's queues of runs, one for each group of workers, and the way of a job to the workers.

The queue decides who is next, and the group gets as many jobs as it has slots. So a job hardly waits at the broker, and
the rules of the queue hold as on one machine, except that no run goes on without its slot.
"""

import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from nats.js.errors import APIError

from app.engine import EngineUnavailableError
from app.engine.dispatcher import Dispatcher
from app.engine.log import Run
from app.engine.nats import subjects, words
from app.engine.nats.broker import Broker, FencedError, SubjectFullError, sequence_of, subject_of
from app.engine.nats.inventory import NatsInventory
from app.engine.nats.mirror import Mirror
from app.engine.nats.runlog import RunLog
from app.engine.supervisor import Supervisor
from app.protocol.events import Event, to_json
from app.protocol.job import JobSpec
from app.settings import Settings

_log = logging.getLogger(__name__)


class Feed:
    """Hands jobs to the workers. ``take`` gets the events that the web itself has stored in a log."""

    def __init__(
        self,
        settings: Settings,
        inventory: NatsInventory,
        tasks: Supervisor,
        take: Callable[[Mirror, Sequence[Event]], object],
    ) -> None:
        self._settings = settings
        self._inventory = inventory
        self._broker: Broker = inventory.broker
        self._tasks = tasks
        self._take = take
        self._name = secrets.token_hex(4)
        self._dispatchers: dict[str, Dispatcher] = {}
        self._refused: list[Mirror] = []
        """Runs whose owner has as many jobs at the workers as it may have."""

    def place(self, job: JobSpec) -> str:
        """Return the group that runs a job. Raises ``EngineUnavailableError`` if there never was one."""
        able = self._inventory.able(job) or list(self._dispatchers)
        if not able:
            raise EngineUnavailableError(words.NO_WORKER)
        return able[0]

    def dispatcher_of(self, group: str) -> Dispatcher:
        """Return the dispatcher of a group, which has its queue."""
        if group not in self._dispatchers:
            settings = self._settings.model_copy(update={"max_runs": self._inventory.groups().get(group, 0)})
            self._dispatchers[group] = Dispatcher(settings, self._start, clock=self._broker.connected_time)
        return self._dispatchers[group]

    def groups(self) -> list[str]:
        """Return every group of workers that has been heard of."""
        return [group for group in self._dispatchers if group]

    def note_presence(self, owner: str | None) -> None:
        """Note that an owner is present."""
        for dispatcher in self._dispatchers.values():
            dispatcher.queue.note_presence(owner)

    def resize(self) -> None:
        """Give each queue as many slots as its group has now."""
        slots = self._inventory.groups()
        for group, dispatcher in self._dispatchers.items():
            dispatcher.queue.resize(slots.get(group, 0))
            dispatcher.tick()

    def enqueue(self, run: Mirror, group: str) -> None:
        """Queue a run for a group of workers, unless it has ended while its caller waited for the broker."""
        if run.ending or run.state == "done":
            return  # nobody would free its slot
        run.group = group
        self.dispatcher_of(group).enqueue(run)

    def leave(self, run: Mirror) -> bool:
        """Take a run out of the queue; return False if its job is with the workers already."""
        if run in self._refused:
            self.ended(run)
            return True
        return not run.placed and self.dispatcher_of(run.group).leave(run) and run.sequence is None

    def begun(self, run: Mirror) -> None:
        """Measure the run from now on: a worker has taken it, perhaps after another one was lost."""
        if run.placed:
            self.dispatcher_of(run.group).begin_again(run)

    def executed(self, run: Mirror) -> None:
        """Free the slot of a run without processes, so that the next job is under way before the verdict.

        If its worker is lost just then, the run is begun again without a slot.
        """
        if run.placed:
            run.placed = False
            self.dispatcher_of(run.group).free(run, executed=not run.unwanted)

    def ended(self, run: Mirror) -> None:
        """Free the slot of a run, or its place in the queue."""
        run.wanted = False
        if run in self._refused:
            self._refused.remove(run)
        if run.placed:
            run.placed = False
            self.dispatcher_of(run.group).free(run)
        else:
            self.dispatcher_of(run.group).leave(run)
        waiting, self._refused = self._refused, []
        for one in waiting:
            one.wanted = True
            self.pump(one)

    def say(self, run: Mirror, event: Event) -> None:
        """Store an event of the web's own, unless a worker writes to the log by now."""
        if run.lease is None:
            run.unsent.append(event)
            self.pump(run)

    def pump(self, run: Mirror) -> None:
        """Store what the web has to say of a run, and hand its job over if it is the run's turn."""
        if (run.unsent or run.wanted) and not run.pumping:
            run.pumping = True
            self._tasks.start_soon(self._send, run)

    async def resume(self, runs: Sequence[Mirror]) -> None:
        """Queue runs that an earlier web has accepted. Those whose jobs are at the broker come first."""
        handed = {}
        for msg in await self._broker.read(subjects.JOBS, "job.>"):
            handed[JobSpec.model_validate_json(msg.data).run_id] = msg
        for run in sorted(runs, key=lambda run: run.id not in handed):
            if run.id in handed:
                run.sequence = sequence_of(handed[run.id])
                self.enqueue(run, subject_of(handed[run.id]).split(".")[1])
            else:
                able = self._inventory.able(run.job) or [*self._dispatchers, ""]
                self.enqueue(run, able[0])

    async def move_stranded(self, runs: Sequence[Mirror]) -> None:
        """Give the runs of groups without workers to other groups, unless a worker still executes them."""
        groups = self._inventory.groups()
        for run in runs:
            # A job that is being published to the old group gets its sequence first, and can then be withdrawn.
            if run.group in groups or run.ending or run.pumping or self._is_held(run):
                continue
            if able := self._inventory.able(run.job):
                _log.info("run %s goes to another group of workers", run.id)
                await self.withdraw(run)
                self.ended(run)
                self.enqueue(run, able[0])

    def with_worker(self, runs: Iterable[Mirror]) -> Iterator[Mirror]:
        """Yield the runs that a worker executes, or could."""
        groups = self._inventory.groups()
        for run in runs:
            if run.group in groups or self._is_held(run) or self._inventory.able(run.job):
                yield run

    def _is_held(self, run: Mirror) -> bool:
        return run.lease is not None and self._inventory.is_alive(run.lease.holder)

    async def withdraw(self, run: Mirror) -> None:
        """Delete the job of a run at the broker."""
        if run.sequence is not None:
            with suppress(APIError):  # it was acknowledged meanwhile
                await self._broker.ask(f"STREAM.MSG.DELETE.{subjects.JOBS}", {"seq": run.sequence})
            run.sequence = None
            run.handed += 1

    def _start(self, run: Run) -> None:
        assert isinstance(run, Mirror)
        run.placed = run.wanted = True
        self.pump(run)

    async def _send(self, run: Mirror) -> None:
        try:
            while run.unsent or run.wanted:
                if run.wanted and len(run.unsent) <= 1:
                    run.wanted = False
                    await self._hand_over(run)
                else:
                    await self._store(run)
        except EngineUnavailableError:
            _log.warning("run %s waits for the broker", run.id)
        finally:
            run.pumping = False

    async def _store(self, run: Mirror) -> None:
        """Store the web's events. A worker that has begun by now need not know the run's place in the queue."""
        events = [event.numbered(len(run.log) + at) for at, event in enumerate(run.unsent, 1)]
        run.unsent.clear()
        if run.lease is None:
            run.certain, certain = False, run.certain
            with suppress(FencedError):
                await RunLog(self._broker, run.id).append(events)
                self._take(run, events)
                run.certain = certain

    async def _hand_over(self, run: Mirror) -> None:
        if run.sequence is not None or run.state == "done":
            return
        subject = subjects.job(run.group, run.job.queue_owner)
        headers = {"Nats-Msg-Id": f"{run.id}.{self._name}.{run.handed}", subjects.EVENTS: str(len(run.log))}
        if run.certain:
            headers[subjects.CERTAIN] = "1"
        if run.yields:
            headers[subjects.YIELDS] = "1"
        run.given, run.unsent = run.unsent, []
        for event in run.given:
            headers[subjects.FIRST] = to_json(event)
        try:
            run.sequence = await self._broker.publish(subject, run.job.model_dump_json().encode(), headers)
        except SubjectFullError:
            run.unsent[:0] = run.given
            self._refused.append(run)
        except EngineUnavailableError:
            run.unsent[:0] = run.given
            run.wanted = True  # if it was stored after all, the broker recognizes it by its id
            run.certain = False
            raise
