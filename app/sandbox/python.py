"""Boxes for the playground's own Python programs that process untrusted files."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from app.sandbox.box import Box


def python_folders(*own: Path) -> tuple[Path, ...]:
    """Return the folders that such a program reads: its own, this Python's and those of its libraries."""
    folders = (*own, Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent.parent)
    return tuple(dict.fromkeys(folders))


def for_python(box: Box, folders: Sequence[Path]) -> Box:
    """Return a box in which these folders can be read.

    If the run's user cannot enter them, as below root's home, the program runs as the server's user instead, in the
    same isolation.
    """
    return replace(box, user=None, user_first=False) if box.unreadable(folders) else box
