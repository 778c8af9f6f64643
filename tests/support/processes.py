"""Processes, as /proc shows them."""

import os
from contextlib import suppress
from pathlib import Path

import anyio


def naming(text: str) -> list[int]:
    """The processes whose arguments hold a text; a bare Debian has no pgrep."""
    found = []
    for name in os.listdir("/proc"):
        with suppress(OSError):
            if name.isdigit() and text.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                found.append(int(name))
    return found


async def gone(mark: str) -> bool:
    """Whether no such process lives within a second: the kernel clears a namespace a moment after its first process."""
    for _ in range(50):
        if not running(mark):
            return True
        await anyio.sleep(0.02)
    return False


async def begun(mark: str) -> bool:
    """Whether such a process lives within a second: a new program gets its command line a moment after its start."""
    for _ in range(50):
        if running(mark):
            return True
        await anyio.sleep(0.02)
    return False


def running(mark: str) -> bool:
    """Whether a process with this word on its command line lives, in whatever namespace."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark in path.read_text():
                return True
        except OSError:
            continue
    return False
