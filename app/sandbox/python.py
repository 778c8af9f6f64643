"""The box of a Python program of ours that handles what strangers made."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from app.sandbox.box import Box


def python_folders(*own: Path) -> tuple[Path, ...]:
    """What such a program reads: its own folders, this Python, and its libraries."""
    named = (*own, Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent.parent)
    return tuple(dict.fromkeys(named))


def for_python(box: Box, folders: Sequence[Path]) -> Box:
    """The box in which these folders can be read.

    Where Python is closed to the run's user, as below root's home, the walls hold the server's own user too.
    """
    return replace(box, user=None, user_first=False) if box.unreadable(folders) else box
