"""Looks into what runs have built: the card of each, read once, with what it is compared to."""

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Protocol

import anyio

from app.binary import BinaryFacts, Card
from app.engine import Earlier, Inside, NothingBuiltError, Std
from app.engine.supervisor import Supervisor
from app.engine.turns import Turns
from app.engine.yardstick import Yardsticks, profile_of
from app.inspector import PARTS, Inspector
from app.protocol.events import Artifact
from app.protocol.job import JobSpec
from app.run.runner import Built
from app.toolchain import Toolchain

_PATIENCE = 0.15
"""Seconds that a card waits for the size of the std program, which can also come later."""
_AT_ONCE = 2


class Looked(Protocol):
    """A run as it is looked into; ``card`` is kept here."""

    id: str
    job: JobSpec
    built: Built | None
    card: Card | None

    def artifact(self) -> Artifact | None:
        """The event that tells of what was built."""


class Looks:
    """Reads cards, few at a time, so that the verdicts of runs need not wait for them.

    ``toolchain`` finds the toolchain of a run by its name.
    """

    def __init__(
        self,
        inspector: Inspector,
        yardsticks: Yardsticks,
        tasks: Supervisor,
        toolchain: Callable[[str], Toolchain | None],
    ) -> None:
        self._inspector = inspector
        self._yardsticks = yardsticks
        self._tasks = tasks
        self._toolchain = toolchain
        self._places = anyio.CapacityLimiter(_AT_ONCE)
        self._turns = Turns()

    async def at(self, run: Looked, before: Iterable[Looked]) -> Inside:
        """What is in the run's binary; ``before`` are other runs, the latest first. Raises ``NothingBuiltError``."""
        artifact = run.artifact()
        card = await self.card(run)
        if artifact is None or card is None:
            raise NothingBuiltError(run.id)
        earlier = [
            Earlier(one.id, one.job.course, one.job.lesson, found) for one in before if (found := await self.card(one))
        ]
        return Inside(run.id, run.job, artifact, card, await self._std(run, artifact), tuple(earlier))

    def prepare(self, run: Looked) -> None:
        """Begin what a look at the run's binary would have to wait for."""
        artifact, toolchain = run.artifact(), self._toolchain(run.job.toolchain)
        profile = profile_of(artifact.path) if artifact else None
        if profile and toolchain:
            self._tasks.start_soon(self._yardsticks.learn, toolchain, profile)

    async def card(self, run: Looked) -> Card | None:
        """The card of what the run built; None when there is nothing."""
        known = run.card
        if known is not None or run.built is None:
            return known
        async with self._turns.of(run.job.turn):
            return run.card or await self._read(run)

    async def _read(self, run: Looked) -> Card | None:
        assert run.built
        try:
            card = await self._inspector.card_of(run.built.file, run.built.companions, self._places)
        except FileNotFoundError:
            return None
        except TimeoutError:
            # The next look may find the machine less busy; what the run itself said is known all the same.
            artifact = run.artifact()
            return Card(_facts(artifact), artifact.bytes, unread=PARTS) if artifact else None
        run.card = card
        return card

    async def _std(self, run: Looked, artifact: Artifact) -> Std | None:
        profile, toolchain = profile_of(artifact.path), self._toolchain(run.job.toolchain)
        if profile is None or toolchain is None:
            return None
        if self._yardsticks.known(toolchain, profile) is None:
            await self._measure(toolchain, profile)
        return self._yardsticks.known(toolchain, profile)

    async def _measure(self, toolchain: Toolchain, profile: str) -> None:
        done = anyio.Event()

        async def learn() -> None:
            await self._yardsticks.learn(toolchain, profile)
            done.set()

        self._tasks.start_soon(learn)
        with anyio.move_on_after(_PATIENCE):
            await done.wait()


def _facts(artifact: Artifact) -> BinaryFacts:
    return BinaryFacts(**{field.name: getattr(artifact, field.name) for field in fields(BinaryFacts)})
