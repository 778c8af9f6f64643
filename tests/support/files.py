"""Walk through files while another process changes them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.runfiles import beneath, folder, removal


def below(folder: Path) -> Iterator[Path]:
    """Yield every path below a folder while others may be deleting it, where ``Path.rglob`` would raise."""
    for top, folders, files in os.walk(folder):
        yield from (Path(top, name) for name in (*folders, *files))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class Interrupted:
    """A stand-in for the module ``os`` that calls ``act`` before each call."""

    def __init__(self, act: Callable[[], None], but: tuple[str, ...]) -> None:
        self._act, self._but = act, but

    def __getattr__(self, name: str) -> object:
        found = getattr(os, name)
        if not callable(found) or isinstance(found, type) or name in self._but:
            return found

        def call(*args: object, **more: object) -> object:
            self._act()
            return found(*args, **more)

        return call


def interrupted(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None], but: tuple[str, ...] = ()) -> None:
    for module in (beneath, folder, removal):
        monkeypatch.setattr(module, "os", Interrupted(act, but))
