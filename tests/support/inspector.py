"""A real inspector for tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.engine.scratch import Scratch
from app.inspector import Inspector
from app.sandbox import detect
from app.settings import Settings
from app.toolchain import discover


@asynccontextmanager
async def inspecting(settings: Settings, elf: int = 0) -> AsyncIterator[Inspector]:
    """Run an inspector with two workers at the isolation level of the settings; ``elf`` of them read ELF files only."""
    isolation = await detect(settings, await discover(settings.cache_dir))
    async with Scratch(settings.scratch_dir) as scratch:
        with isolation.slots(2) as boxes:
            async with Inspector.start(boxes[elf:], scratch.new_root, boxes[:elf]) as inspector:
                yield inspector
