"""Targets on demand: which are ready, which are being set up, and how a run waits for them."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from time import monotonic

from app.engine import words
from app.protocol.command import Command
from app.protocol.machine import TargetStatus
from app.run.workspace import configured_targets
from app.toolchain import Demand, Toolchain, missing, preferred

_SECONDS = re.compile(r", \d+ s$")
"""The end of a progress line: the seconds of its step."""


def _named(command: Command, crate: Mapping[str, str]) -> set[str]:
    """Return the targets that a run builds for, as named by the command or the configuration."""
    if command.subcommand == "add":
        return set(command.options)
    if command.target or command.program != "cargo":
        return {command.target or ""}
    return set(configured_targets(crate))


class Targets:
    """The targets of all lessons, ``known``. No others are set up on demand."""

    def __init__(self, known: Iterable[str], demand: Demand) -> None:
        self._known = frozenset(known)
        self._demand = demand

    async def work(self, refresh: Callable[[], Awaitable[object]]) -> None:
        """Set up wanted targets, until cancelled. ``refresh`` looks for the toolchains anew after each."""
        await self._demand.serve(refresh)

    def offers(self, target: str | None) -> bool:
        """Return True if a lesson builds for the target, so that it may be set up on demand."""
        return target in self._known

    def want(self, toolchains: tuple[Toolchain, ...], targets: Iterable[str]) -> None:
        """Have the missing ones set up."""
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
        doing = _SECONDS.sub("", known.doing)
        return TargetStatus(triple=target, state=known.state, doing=doing, seconds=round(monotonic() - known.since))

    def pending(self, command: Command, crate: Mapping[str, str], toolchains: tuple[Toolchain, ...]) -> tuple[str, ...]:
        """Return the targets that a run has to wait for, and have them set up.

        There are none if all are ready, or if setting up the missing ones has failed.
        """
        lacking = missing(toolchains, sorted(self._known & _named(command, crate)))
        self._demand.want(lacking)
        return tuple(target for target in lacking if (known := self._demand.of(target)) and known.pending)

    async def settled(self, targets: Sequence[str], say: Callable[[str], None]) -> None:
        """Wait until each target is ready or has failed. ``say`` gets the lines of the set-up meanwhile."""
        say(words.waits_for(targets))
        await self._demand.settled(targets, say)


def best_for(targets: Sequence[str], chosen: str, toolchains: tuple[Toolchain, ...]) -> str:
    """Return the name of a toolchain that has the targets: the chosen one, unless only another one has them."""
    same = tuple(one for one in toolchains if one.name == chosen)
    best = preferred(toolchains, *targets)
    return best.name if best and missing(same, targets) and not missing((best,), targets) else chosen
