"""Processes found through /proc."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.polling import eventually_async


def pids_with(text: str) -> list[int]:
    """Return the ids of the processes with this text in their arguments; a bare Debian has no pgrep."""
    found = []
    for name in os.listdir("/proc"):
        with suppress(OSError):
            if name.isdigit() and text.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                found.append(int(name))
    return found


async def has_ended(mark: str) -> bool:
    """Return True as soon as no such process runs, False if one goes on.

    The kernel kills the rest of a namespace a moment after its first process.
    """
    return await eventually_async(lambda: not is_running(mark))


async def has_started(mark: str) -> bool:
    """Return True as soon as such a process runs, False if none appears.

    A new program gets its command line a moment after its start.
    """
    return await eventually_async(lambda: is_running(mark))


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
