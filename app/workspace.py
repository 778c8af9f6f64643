"""Edits become a scratch crate: which paths and sizes are accepted, and the folder of one run."""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from app.lessons import Lesson

CRATE = "blog_os"
"""The folder that holds the crate; cargo shows it beside the crate's name."""


class EditError(ValueError):
    """Files that cannot be accepted: a stable ``code``, a sentence that says what to change, the ``field`` at fault."""

    def __init__(self, code: str, message: str, field: str) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


def merge(lesson: Lesson, edits: Mapping[str, str], file_bytes: int) -> dict[str, str]:
    """The whole crate: the lesson's files with the learner's edits laid over them.

    Raises ``EditError`` for a path that the lesson does not let a learner edit, and for a text that is
    longer than ``file_bytes`` bytes or holds a NUL.
    """
    for path, text in edits.items():
        field = f"files.{path[:80]}".encode("utf-8", "replace").decode()
        if path not in lesson.editable:
            allowed = " and ".join(lesson.editable)
            raise EditError("not-editable", f"{path[:80]!r} cannot be edited in this lesson; {allowed} can.", field)
        if "\0" in text:
            raise EditError("nul-byte", f"{path} holds a NUL byte; remove it.", field)
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise EditError("not-unicode", f"{path} holds half a surrogate pair; remove it.", field) from error
        if size > file_bytes:
            limit = f"{file_bytes // 1024} KiB"
            raise EditError("file-too-large", f"{path} is {size} bytes long; shorten it to {limit} or less.", field)
    return {**lesson.files, **edits}


def lay(root: Path, files: Mapping[str, str]) -> Path:
    """Write ``files`` as a crate below ``root``, which must not exist yet; the crate's folder."""
    crate = root / CRATE
    root.mkdir(mode=0o700)
    crate.mkdir()
    for path, text in files.items():
        target = crate / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="")
    return crate


def sow(root: Path, seed: Mapping[str, bytes]) -> None:
    """Lay files into a run's folder by their path in it."""
    for path, data in seed.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def place(crate: Path, path: str, built: Path) -> None:
    """Put what an earlier run built read-only where cargo had put it."""
    target = crate / path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(built, target)
    target.chmod(stat.S_IRUSR | stat.S_IXUSR)


def remove(root: Path) -> None:
    """Delete a run's folder, also when the run has taken its own permissions away or nested without end."""
    try:
        shutil.rmtree(root, onerror=_retry)
    except RecursionError:
        subprocess.run(["rm", "-rf", "--", str(root)], check=False)


def _retry(function: Callable[..., object], path: str, _error: object) -> None:
    try:
        os.chmod(os.path.dirname(path), stat.S_IRWXU)
        os.chmod(path, stat.S_IRWXU, follow_symlinks=False) if os.path.isdir(path) else None
        function(path)
    except OSError:
        # What still resists is tried again when the server starts the next time.
        return
