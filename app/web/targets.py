"""What a lesson builds for: what is ready, what is being set up, and how a run waits for it."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Literal

from app.command import Command
from app.course.lessons import Lesson
from app.engine import Prepare
from app.toolchain import Demand, Toolchain, missing, preferred
from app.workspace import configured_targets

_BEAT = re.compile(r", \d+ s$")

Find = Callable[[], Awaitable[tuple[Toolchain, ...]]]


@dataclass(frozen=True)
class Standing:
    """How far a target is. ``missing``: nobody has asked for it yet; ``doing`` and ``seconds`` tell of its set-up."""

    triple: str
    state: Literal["ready", "missing", "waiting", "building", "failed"]
    doing: str = ""
    seconds: int = 0

    @property
    def pending(self) -> bool:
        """Whether it is on its way."""
        return self.state in ("waiting", "building")


def _named(command: Command, crate: Mapping[str, str]) -> set[str]:
    """The targets that a run builds for, as far as command and configuration name them."""
    if command.subcommand == "add":
        return set(command.options)
    if command.target or command.program != "cargo":
        return {command.target or ""}
    return set(configured_targets(crate))


class Targets:
    """The targets of all lessons: nobody can have others set up."""

    def __init__(self, lessons: Iterable[Lesson], demand: Demand, find: Find) -> None:
        self._known = {triple for lesson in lessons for triple in lesson.targets}
        self._demand = demand
        self._find = find

    async def work(self, refresh: Callable[[], Awaitable[object]]) -> None:
        """Set up what is wanted, until cancelled; ``refresh`` makes the toolchains known that came of it."""
        await self._demand.serve(refresh)

    def offers(self, target: str | None) -> bool:
        """Whether a lesson builds for it, so that it may be set up on demand."""
        return target in self._known

    def want(self, toolchains: tuple[Toolchain, ...], targets: Iterable[str]) -> None:
        """Have those set up that lack."""
        self._demand.want(missing(toolchains, targets))

    def standing(self, toolchains: tuple[Toolchain, ...], targets: Iterable[str]) -> tuple[Standing, ...]:
        """How far each target is."""
        lacking = missing(toolchains, targets)
        return tuple(self._standing(target) if target in lacking else Standing(target, "ready") for target in targets)

    def _standing(self, target: str) -> Standing:
        known = self._demand.of(target)
        if known is None:
            return Standing(target, "missing")
        doing = _BEAT.sub("", known.doing)  # its own seconds are those of one step
        return Standing(target, known.state, doing, round(monotonic() - known.since))

    def preparation(
        self, command: Command, crate: Mapping[str, str], chosen: Toolchain, toolchains: tuple[Toolchain, ...]
    ) -> Prepare | None:
        """What a run has to wait for first; None when all is there, or when it cannot be had."""
        lacking = missing(toolchains, sorted(self._known & _named(command, crate)))
        self._demand.want(lacking)
        pending = [target for target in lacking if (known := self._demand.of(target)) and known.pending]
        return partial(self._prepared, chosen, pending) if pending else None

    async def _prepared(self, chosen: Toolchain, targets: list[str], say: Callable[[str], None]) -> Toolchain:
        """The toolchain for a run once its targets are settled: the chosen one, unless only another has them."""
        say(f"First, core for {' and '.join(targets)} is set up here. The run goes on by itself when it is there.")
        await self._demand.settled(targets, say)
        toolchains = await self._find()
        same = next((one for one in toolchains if one.name == chosen.name), chosen)
        best = preferred(toolchains, *targets)
        return best if best and missing((same,), targets) and not missing((best,), targets) else same
