"""The compilers and targets of this machine: found at the start, and looked for again when one is missing."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import anyio

from app import toolchain as this_machine
from app.course import Course
from app.engine.memo import Memo
from app.engine.targets import Targets, best_for
from app.protocol.job import JobSpec
from app.protocol.machine import TargetStatus, ToolchainInfo
from app.sandbox import Isolation, detect
from app.settings import Settings
from app.toolchain import (
    Demand,
    DoctorReport,
    Toolchain,
    discover,
    missing,
    missing_tools,
    tools_command,
)

_log = logging.getLogger(__name__)
_LOOK_AGAIN = 5.0
"""Seconds between two looks at this machine."""


@dataclass(frozen=True)
class LocalSetup:
    """The isolation of runs on this machine, and its toolchains."""

    isolation: Isolation
    toolchains: tuple[Toolchain, ...]


async def find_setup(settings: Settings) -> LocalSetup:
    """Find the isolation and the toolchains. Raises ``IsolationError`` if the level in the settings does not work."""
    toolchains = await discover(settings.cache_dir)
    return LocalSetup(await detect(settings, toolchains), toolchains)


class ToolchainSource(Protocol):
    """The functions that look at a machine's toolchains: ``app.toolchain`` itself, or a test's own."""

    async def discover(self, cache_dir: Path, /) -> tuple[Toolchain, ...]:
        """Return every toolchain that a run can use."""
        ...

    async def explanation(self, toolchain: Toolchain, code: str, /) -> str | None:
        """Return the compiler's explanation of an error code as Markdown, None if it has none."""
        ...

    async def examine(
        self, cache_dir: Path, lessons: Mapping[str, Sequence[str]], essential: tuple[str, ...], /
    ) -> DoctorReport:
        """Return what is on the machine, and what the targets of the lessons lack."""
        ...


class LocalInventory:
    """The ``Inventory`` of this machine.

    The targets of the ``courses`` may be set up on demand. Call ``begin`` first; ``work`` sets targets up.
    ``source`` looks at the machine; ``clock`` gives the seconds since it last did.
    """

    def __init__(
        self,
        settings: Settings,
        courses: Iterable[Course],
        demand: Demand | None = None,
        *,
        source: ToolchainSource = this_machine,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._clock = clock
        self._cache_dir = settings.cache_dir
        courses = tuple(courses)
        known = (target for course in courses for lesson in course.lessons for target in lesson.targets)
        self.targets = Targets(known, demand or Demand(settings.cache_dir))
        self._essential = tuple(dict.fromkeys(one for course in courses for one in course.essential_targets))
        """The targets that set-up provides. Others are set up when a lesson needs them."""
        self._found: LocalSetup | None = None
        self._toolchains: tuple[Toolchain, ...] = ()
        self._looked = 0.0
        self._look = anyio.Lock()
        self._wanted = anyio.Event()
        self._examined = Memo[str, DoctorReport](ttl=_LOOK_AGAIN, clock=clock)
        self._explanations = Memo[tuple[str, str], str | None]()

    def begin(self, found: LocalSetup) -> None:
        """Start with what was found on this machine."""
        self._found = found
        self._toolchains = self.usable(found.toolchains)
        self._looked = self._clock()

    async def work(self) -> None:
        """Set up targets on demand and look for what is missing, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.targets.work, self.refresh)
            tasks.start_soon(self.keep_looking)

    @property
    def isolation(self) -> str:
        """The isolation level of runs."""
        assert self._found, "nothing was looked for yet"
        return self._found.isolation.level

    def usable(self, toolchains: tuple[Toolchain, ...]) -> tuple[Toolchain, ...]:
        """Return the toolchains that a run can read at this level of isolation."""
        assert self._found, "nothing was looked for yet"
        box = self._found.isolation.box
        return tuple(one for one in toolchains if box.unreadable(one.folders) is None)

    def named(self, name: str) -> Toolchain | None:
        """Return the toolchain of that name, or None."""
        return next((one for one in self._toolchains if one.name == name), None)

    def pending(self, job: JobSpec) -> tuple[str, ...]:
        """Return the targets that a job has to wait for, and have them set up."""
        return self.targets.pending(job.command, job.files, self._toolchains)

    async def prepared(self, job: JobSpec, targets: Sequence[str], say: Callable[[str], None]) -> str:
        """Wait until the targets are settled; return the name of the toolchain that then runs the job."""
        await self.targets.settled(targets, say)
        return best_for(targets, job.toolchain, self._toolchains)

    async def present(self, targets: Sequence[str] = ()) -> tuple[Toolchain, ...]:
        """Return the toolchains. If one is gone, look for them first; if a target is missing, look after this answer.

        The host, the essential targets and ``targets`` count.
        """
        async with self._look:
            if not all(program.exists() for one in self._toolchains for program in one.programs):
                return await self.refresh()
        if missing(self._toolchains, (None, *self._essential, *targets)) and self._clock() - self._looked > _LOOK_AGAIN:
            self._looked = self._clock()
            self._wanted.set()
        return self._toolchains

    async def keep_looking(self) -> None:
        """Look for the toolchains again whenever something is missing, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted = anyio.Event()
            try:
                await self.refresh()
            except Exception:
                _log.exception("the toolchains could not be looked at")

    async def refresh(self) -> tuple[Toolchain, ...]:
        """Look for the toolchains again."""
        self._toolchains = self.usable(await self._source.discover(self._cache_dir))
        self._looked = self._clock()
        return self._toolchains

    async def health(self) -> str:
        """Return ``ok`` if toolchains build for this computer and the essential targets, else a sentence."""
        lacking = [target or "the host" for target in missing(await self.present(), (None, *self._essential))]
        return f"no toolchain builds for {', '.join(lacking)}; see playground doctor" if lacking else "ok"

    async def toolchains(self, targets: Sequence[str] = ()) -> tuple[ToolchainInfo, ...]:
        """Return the toolchains that runs can use, without their paths."""
        return tuple(one.info for one in await self.present(targets))

    async def offers(self, target: str | None) -> bool:
        """Return True if a lesson builds for the target."""
        return self.targets.offers(target)

    async def want(self, targets: Sequence[str]) -> None:
        """Have the missing ones of the targets set up."""
        self.targets.want(self._toolchains, targets)

    async def target_statuses(self, targets: Sequence[str]) -> tuple[TargetStatus, ...]:
        """Return the state of each target."""
        return self.targets.target_statuses(self._toolchains, targets)

    async def explain(self, toolchain: str, code: str) -> str | None:
        """Return a toolchain's explanation of an error code as Markdown, or None if it has none."""
        chosen = self.named(toolchain)
        if chosen is None:
            return None
        return await self._explanations.get((chosen.version, code), partial(self._source.explanation, chosen, code))

    async def examine(self, name: str, targets: Sequence[str]) -> DoctorReport:
        """Return what is missing for the targets of the lesson ``name``, at most ``_LOOK_AGAIN`` seconds old."""
        return await self._examined.get(
            name, partial(self._source.examine, self._cache_dir, {name: targets}, self._essential)
        )

    async def missing_tools(self, needs: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
        """Return those of the programs that are not installed, and the command that installs them if one is known."""
        lacking = missing_tools(needs)
        return lacking, tools_command(lacking)

    async def crew(self) -> None:
        """Return None: this process executes the runs."""
