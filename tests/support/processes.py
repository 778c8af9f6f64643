"""Processes found through /proc."""

import os
from contextlib import suppress
from pathlib import Path

import anyio
import pytest


def pids_with(text: str) -> list[int]:
    """Return the ids of the processes with this text in their arguments; a bare Debian has no pgrep."""
    found = []
    for name in os.listdir("/proc"):
        with suppress(OSError):
            if name.isdigit() and text.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                found.append(int(name))
    return found


async def has_ended(mark: str) -> bool:
    """Return True if every such process ends within a second.

    The kernel kills the rest of a namespace a moment after its first process.
    """
    for _ in range(50):
        if not is_running(mark):
            return True
        await anyio.sleep(0.02)
    return False


async def has_started(mark: str) -> bool:
    """Return True if such a process appears within a second.

    A new program gets its command line a moment after its start.
    """
    for _ in range(50):
        if is_running(mark):
            return True
        await anyio.sleep(0.02)
    return False


def is_running(mark: str) -> bool:
    """Return True if a process in any namespace has this word on its command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark in path.read_text():
                return True
        except OSError:
            continue
    return False


def put_on_path(path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program first on the search path."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
