"""The runs that all workers together can execute, from the announcement of each."""

import logging
import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from app import __version__
from app.course import Course
from app.engine import EngineUnavailableError
from app.engine.nats import asks, subjects, words
from app.engine.nats.broker import Broker
from app.protocol.job import JobSpec
from app.protocol.machine import TargetStatus, ToolchainInfo
from app.protocol.worker import Crew, WorkerInfo
from app.settings import Settings
from app.toolchain import DoctorReport

_log = logging.getLogger(__name__)
_CONNECT_SECONDS = 2.0
_QUICK_SECONDS = 3.0
_ANNOUNCED_SECONDS = 3.0
"""Seconds within which a worker has announced that it sets a target up."""
_LEVELS = ("none", "landlock", "namespaces")
"""The levels of isolation from the weakest to the strongest."""


class NatsInventory:
    """The ``Inventory`` of all workers whose courses are those of the web. ``clock`` gives seconds."""

    def __init__(
        self,
        settings: Settings,
        courses: Iterable[Course],
        broker: Broker,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        courses = tuple(courses)
        self.broker = broker
        self._only_isolated = not settings.only_local
        self._digests: Mapping[str, str] = {course.id: course.digest for course in courses}
        self._offered = frozenset(one for course in courses for lesson in course.lessons for one in lesson.targets)
        self._clock = clock
        self._seen: dict[str, tuple[WorkerInfo, float]] = {}
        self._refused: set[str] = set()
        self._wanted: dict[str, float] = {}
        """The times at which missing targets were last asked for."""
        self._tools: dict[tuple[str, ...], tuple[tuple[str, ...], str | None]] = {}
        """The latest answers about missing programs."""

    def note(self, info: WorkerInfo) -> None:
        """Take what a worker announces."""
        self._seen[info.id] = info, self._clock()

    def leave(self, worker_id: str) -> None:
        """Remove a worker that has said that it ends."""
        self._seen.pop(worker_id, None)

    def workers(self) -> list[WorkerInfo]:
        """Return the workers that can be used: heard of lately, with the web's courses, not draining."""
        return [one for one in self.alive() if not one.draining and self.why_refused(one) is None]

    def alive(self) -> list[WorkerInfo]:
        """Return every worker that was heard of lately. While the broker is away, nothing can be heard."""
        since = self._clock() - subjects.WORKER_TTL
        if self.broker.lost_at > self.broker.restored_at or self.broker.restored_at > since:
            since = -math.inf
        for gone in [name for name, (_, at) in self._seen.items() if at < since]:
            del self._seen[gone]
            self._refused.discard(gone)
        return [info for info, _ in self._seen.values()]

    def is_alive(self, worker_id: str) -> bool:
        """Return True if the worker was heard of lately."""
        return any(one.id == worker_id for one in self.alive())

    def groups(self) -> dict[str, int]:
        """Return the groups of workers that can be used, with the number of their slots."""
        found: dict[str, int] = {}
        for one in self.workers():
            found[one.group] = found.get(one.group, 0) + one.slots
        return found

    def able(self, job: JobSpec) -> list[str]:
        """Return the groups that can run a job: those that have its target before those that would set it up.

        During an upgrade, those of this version come first: another one may know other events.
        """
        target = job.command.target
        fit = [one for one in self.workers() if one.has(job.toolchain)]
        ready = [one for one in fit if any(each.can_build(target) for each in one.toolchains)]
        best = sorted([*ready, *fit], key=lambda one: one.version != __version__)
        return list(dict.fromkeys(one.group for one in best))

    @property
    def isolation(self) -> str:
        """The weakest level of isolation of all workers, ``none`` without workers."""
        levels = [one.isolation for one in self.workers() if one.isolation in _LEVELS]
        return min(levels, key=_LEVELS.index, default="none")

    async def health(self) -> str:
        """Return ``ok`` if a worker builds for its computer and the essential targets, else a sentence."""
        told = [one.toolchain_health for one in self.workers()]
        if not told:
            return words.NO_WORKER
        return "ok" if "ok" in told else told[0]

    async def toolchains(self, targets: Sequence[str] = ()) -> tuple[ToolchainInfo, ...]:
        """Return the toolchains of all workers; of those with the same name, the one with the most targets."""
        del targets  # a worker looks for missing ones by itself
        best: dict[str, ToolchainInfo] = {}
        for one in (each for info in self.workers() for each in info.toolchains):
            if one.name not in best or len(one.targets) > len(best[one.name].targets):
                best[one.name] = one
        return tuple(sorted(best.values(), key=lambda one: one.release))

    async def offers(self, target: str | None) -> bool:
        """Return True if a lesson builds for the target."""
        return target in self._offered

    async def want(self, targets: Sequence[str]) -> None:
        """Have every worker set up the missing ones of the targets, without waiting for an answer."""
        lacking = [target for target in targets if self._status(target).state in ("missing", "failed")]
        for one in self.workers() if lacking else ():
            self._wanted |= dict.fromkeys(lacking, self._clock())
            with suppress(EngineUnavailableError):
                await self.broker.tell(f"ask.{one.id}", asks.question("want", lacking))

    async def target_statuses(self, targets: Sequence[str]) -> tuple[TargetStatus, ...]:
        """Return the state of each target: of several workers, the state that is nearest to ``ready``."""
        return tuple(self._status(target) for target in targets)

    def _status(self, target: str) -> TargetStatus:
        workers = self.workers()
        if any(target in each.targets for one in workers for each in one.toolchains):
            return TargetStatus(triple=target, state="ready")
        told = [each for one in workers for each in one.pending if each.triple == target]
        told.sort(key=lambda one: ("building", "waiting", "failed").index(one.state) if one.pending else 2)
        is_wanted = self._clock() - self._wanted.get(target, -math.inf) < _ANNOUNCED_SECONDS
        return told[0] if told else TargetStatus(triple=target, state="waiting" if is_wanted else "missing")

    async def explain(self, toolchain: str, code: str) -> str | None:
        """Return a toolchain's explanation of an error code as Markdown, or None if it has none."""
        fit = [one for one in self.workers() if one.has(toolchain)]
        return await self._any(fit, "explain", toolchain, code) if fit else None

    async def examine(self, name: str, targets: Sequence[str]) -> DoctorReport:
        """Return what a worker lacks for the targets of the lesson ``name``, and the command that installs it."""
        try:
            return await self._any(self.workers(), "examine", name, list(targets))  # type: ignore[no-any-return]  # the adapter of "examine" says the type
        except EngineUnavailableError:
            problems = (words.NO_ANSWER,)
            return DoctorReport(ok=False, toolchains=(), linkers=(), lookups=(), problems=problems, command=None)

    async def missing_tools(self, needs: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
        """Return those of the programs that a worker lacks, and the command that installs them if one is known."""
        key = tuple(needs)
        if needs:
            with suppress(EngineUnavailableError):  # a lesson can be read without the answer
                self._tools[key] = await self._any(self.workers(), "missing_tools", list(needs), seconds=_QUICK_SECONDS)
        return self._tools.get(key, ((), None))

    async def crew(self) -> Crew:
        """Return every worker that was heard of lately with its state."""
        workers = tuple((one, state_of(one, self.why_refused(one))) for one in self.alive())
        return Crew(connected=self.broker.connected, reconnections=self.broker.reconnections, workers=workers)

    async def _any(
        self, workers: Sequence[WorkerInfo], name: str, *arguments: object, seconds: float = asks.SECONDS
    ) -> Any:
        """Return the answer of one of the workers. Raises ``EngineUnavailableError`` if none answers."""
        for one in random.sample(workers, len(workers)):
            try:
                return await asks.ask(self.broker, f"ask.{one.id}", name, *arguments, seconds=seconds)
            except asks.NobodyThereError:
                self.leave(one.id)
        raise EngineUnavailableError(words.NO_WORKER)

    def why_refused(self, info: WorkerInfo) -> str | None:
        """Return why a worker gets no runs, and log it once, or None."""
        other = [name for name, digest in self._digests.items() if info.courses.get(name) != digest]
        if other:
            why = words.other_course(info.id, other[0])
        elif self._only_isolated and info.isolation == "none":
            why = words.not_isolated(info.id)
        else:
            return None
        if info.id not in self._refused:
            self._refused.add(info.id)
            _log.error(why)
        return why


async def roster(settings: Settings, courses: Iterable[Course]) -> list[tuple[WorkerInfo, str | None]]:
    """Return the workers at the broker, each with the reason why it gets no runs, or None.

    Changes nothing at the broker. Raises ``UnusableBrokerError``, ``EngineUnavailableError``.
    """
    broker = Broker(settings.engine, "web", settings.engine_keys)
    inventory = NatsInventory(settings, courses, broker)
    await broker.connect(_CONNECT_SECONDS, subjects.largest_message(settings.body_bytes, settings.output_bytes))
    try:
        is_new = not await broker.has(subjects.WORKERS)
        found = [] if is_new else await broker.last(subjects.WORKERS, subjects.worker("*"))
    finally:
        await broker.close()
    workers = [info for msg in found if (info := announced(msg.data))]
    return [(one, inventory.why_refused(one)) for one in sorted(workers, key=lambda one: one.id)]


def announced(data: bytes) -> WorkerInfo | None:
    """Return an announcement, or None if it is empty or cannot be read."""
    try:
        return WorkerInfo.model_validate_json(data)
    except ValueError:
        return None


def state_of(info: WorkerInfo, refused: str | None) -> str:
    """Return ``ready``, ``draining`` or ``refused``."""
    return "draining" if info.draining else "refused" if refused else "ready"


def table(workers: Sequence[tuple[WorkerInfo, str | None]]) -> str:
    """Return lines for people about workers."""
    if not workers:
        return words.NO_WORKER
    lines = []
    for one, refused in workers:
        able = f"{one.slots} at once, isolation {one.isolation}, version {one.version}"
        lines.append(f"{one.id}: {state_of(one, refused)}, {able}")
        lines += [
            f"  Rust {each.version}{f' ({each.commit[:9]})' if each.commit else ''}: {', '.join(sorted(each.targets))}"
            for each in one.toolchains
        ]
        lines += [f"  {each.triple}: {each.state}" for each in one.pending]
        lines += [f"  {why}" for why in (refused, one.health, one.toolchain_health) if why not in (None, "ok")]
    return "\n".join(lines)
