"""Targets on demand: what is ready, what is being set up, and how a run waits for it."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from time import monotonic

from app.protocol.command import Command
from app.protocol.machine import TargetStatus
from app.run.workspace import configured_targets
from app.toolchain import Demand, Toolchain, missing, preferred

_BEAT = re.compile(r", \d+ s$")


def _named(command: Command, crate: Mapping[str, str]) -> set[str]:
    """The targets that a run builds for, as far as command and configuration name them."""
    if command.subcommand == "add":
        return set(command.options)
    if command.target or command.program != "cargo":
        return {command.target or ""}
    return set(configured_targets(crate))


class Targets:
    """The targets of all lessons, ``known``: nobody can have others set up."""

    def __init__(self, known: Iterable[str], demand: Demand) -> None:
        self._known = frozenset(known)
        self._demand = demand

    async def work(self, refresh: Callable[[], Awaitable[object]]) -> None:
        """Set up what is wanted, until cancelled; ``refresh`` makes the toolchains known that came of it."""
        await self._demand.serve(refresh)

    def offers(self, target: str | None) -> bool:
        """Return True if a lesson builds for it, so that it may be set up on demand."""
        return target in self._known

    def want(self, toolchains: tuple[Toolchain, ...], targets: Iterable[str]) -> None:
        """Have those set up that lack."""
        self._demand.want(missing(toolchains, targets))

    def target_statuses(self, toolchains: tuple[Toolchain, ...], targets: Iterable[str]) -> tuple[TargetStatus, ...]:
        """Return the state of each target."""
        lacking = missing(toolchains, targets)
        return tuple(
            self._status(target) if target in lacking else TargetStatus(triple=target, state="ready")
            for target in targets
        )

    def _status(self, target: str) -> TargetStatus:
        known = self._demand.of(target)
        if known is None:
            return TargetStatus(triple=target, state="missing")
        doing = _BEAT.sub("", known.doing)  # its own seconds are those of one step
        return TargetStatus(triple=target, state=known.state, doing=doing, seconds=round(monotonic() - known.since))

    def pending(self, command: Command, crate: Mapping[str, str], toolchains: tuple[Toolchain, ...]) -> tuple[str, ...]:
        """Return the targets that a run has to wait for first, and have them set up.

        Empty when all are ready, or when those that lack cannot be had.
        """
        lacking = missing(toolchains, sorted(self._known & _named(command, crate)))
        self._demand.want(lacking)
        return tuple(target for target in lacking if (known := self._demand.of(target)) and known.pending)

    async def settled(self, targets: Sequence[str], say: Callable[[str], None]) -> None:
        """Wait until each of the targets is ready or has failed; ``say`` gets what the set-up says meanwhile."""
        say(f"First, core for {' and '.join(targets)} is set up here. The run goes on by itself when it is there.")
        await self._demand.settled(targets, say)


def best_for(targets: Sequence[str], chosen: str, toolchains: tuple[Toolchain, ...]) -> str:
    """Return the name of the toolchain that builds for the targets: the chosen one, unless only another has them."""
    same = tuple(one for one in toolchains if one.name == chosen)
    best = preferred(toolchains, *targets)
    return best.name if best and missing(same, targets) and not missing((best,), targets) else chosen
