"""Cards of the artifacts that runs have built: each read once, with what it is compared to."""

from collections.abc import Callable, Iterable
from dataclasses import fields

import anyio

from app.binary import BinaryFacts, Card
from app.engine import ArtifactDetails, EarlierArtifact, HelloWorldSize, NothingBuiltError
from app.engine.hello_world import HelloWorldSizes, profile_of
from app.engine.log import Run
from app.engine.owner_lock import PerOwnerLock
from app.engine.supervisor import Supervisor
from app.inspector import PARTS, Inspector
from app.protocol.events import Artifact
from app.toolchain import Toolchain

_PATIENCE = 0.15
"""Seconds that the details wait for the size of the std program. A later look may have it."""
_AT_ONCE = 2
"""Cards that are read at once, so that readers are left for the facts that verdicts need."""


class ArtifactCards:
    """Reads the cards of artifacts, few at a time, so that verdicts need not wait for them.

    ``toolchain`` finds a toolchain by its name.
    """

    def __init__(
        self,
        inspector: Inspector,
        hello_world_sizes: HelloWorldSizes,
        tasks: Supervisor,
        toolchain: Callable[[str], Toolchain | None],
    ) -> None:
        self._inspector = inspector
        self._hello_world_sizes = hello_world_sizes
        self._tasks = tasks
        self._toolchain = toolchain
        self._places = anyio.CapacityLimiter(_AT_ONCE)
        self._owner_lock = PerOwnerLock()

    async def details(self, run: Run, before: Iterable[Run]) -> ArtifactDetails:
        """Return the details of the run's artifact; ``before`` are other runs, the latest first.

        Raises ``NothingBuiltError``.
        """
        artifact = run.artifact()
        card = await self.card(run)
        if artifact is None or card is None:
            raise NothingBuiltError(run.id)
        earlier = [
            EarlierArtifact(one.id, one.job.course, one.job.lesson, found)
            for one in before
            if (found := await self.card(one))
        ]
        return ArtifactDetails(run.id, run.job, artifact, card, await self._std(run, artifact), tuple(earlier))

    def prepare(self, run: Run) -> None:
        """Start to measure the std program, so that the details of the run's artifact need not wait for it."""
        artifact, toolchain = run.artifact(), self._toolchain(run.job.toolchain)
        profile = profile_of(artifact.path) if artifact else None
        if profile and toolchain:
            self._tasks.start_soon(self._hello_world_sizes.of, toolchain, profile)

    async def card(self, run: Run) -> Card | None:
        """Return the card of the run's artifact, or None if it has none."""
        known = run.card
        if known is not None or run.built is None:
            return known
        async with self._owner_lock.of(run.job.lock_owner):
            return run.card or await self._read(run)

    async def _read(self, run: Run) -> Card | None:
        assert run.built
        try:
            card = await self._inspector.card_of(run.built.file, run.built.companions, self._places)
        except FileNotFoundError:
            return None
        except TimeoutError:
            # The machine may be less busy next time. Until then, the card has the facts of the run's own event.
            artifact = run.artifact()
            return Card(_facts(artifact), artifact.bytes, unread=PARTS) if artifact else None
        run.card = card
        return card

    async def _std(self, run: Run, artifact: Artifact) -> HelloWorldSize | None:
        """Return the size of the std program, or None if it takes longer than ``_PATIENCE`` to find out."""
        profile, toolchain = profile_of(artifact.path), self._toolchain(run.job.toolchain)
        if profile is None or toolchain is None:
            return None
        size: HelloWorldSize | None = None
        measured = anyio.Event()

        async def measure() -> None:
            nonlocal size
            size = await self._hello_world_sizes.of(toolchain, profile)
            measured.set()

        # In a task of the engine's: it goes on after the answer.
        self._tasks.start_soon(measure)
        with anyio.move_on_after(_PATIENCE):
            await measured.wait()
        return size


def _facts(artifact: Artifact) -> BinaryFacts:
    return BinaryFacts(**{field.name: getattr(artifact, field.name) for field in fields(BinaryFacts)})
