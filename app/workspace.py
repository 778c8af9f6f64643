"""Edits become a scratch crate: which are accepted, the folder of one run, and what is taken out of it in the end."""

import os
import re
import shutil
import stat
import subprocess
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path

from app.lessons import Lesson

CRATE = "blog_os"
"""The folder that holds the crate; cargo shows it beside the crate's name."""

_NO_NAME = re.compile("[\0\ud800-\udfff]")
"""What the system, or JSON, lets stand in no path."""
_LARGEST_ARTIFACT = 64 * 1024 * 1024
_LARGEST_COMPANION = 8 * 1024 * 1024
_MOST_COMPANIONS = 8
_MOST_LISTED = 1000


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


def configured_targets(files: Mapping[str, str]) -> tuple[str, ...]:
    """What the crate's own configuration has cargo build for; empty for the host."""
    try:
        named = tomllib.loads(files.get(".cargo/config.toml", "")).get("build", {}).get("target")
    except (tomllib.TOMLDecodeError, AttributeError, RecursionError):  # cargo will say what is wrong with it
        return ()
    several = named if isinstance(named, list) else [named]
    return tuple(each for each in several if isinstance(each, str))


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


def inside(crate: Path, executable: str) -> str | None:
    """The path in the crate, if what cargo names lies in this run's own crate and not behind a link out of it.

    Not only below ``target``: a configuration may name another folder.
    """
    if _NO_NAME.search(executable):
        return None
    folder = Path(os.path.realpath(os.path.dirname(executable)))
    top = Path(os.path.realpath(crate))
    if not folder.is_relative_to(top):
        return None
    return (folder.relative_to(top) / os.path.basename(executable)).as_posix()


def keep(built: Path, folder: Path) -> Path | None:
    """Move what was built out of the crate, if it is a file of a sensible size and not a link; where it is then.

    Moved rather than copied, which takes longer than all the rest for 10 MB: the run is over and its crate goes.
    """
    return folder / "program" if _moved(built, folder / "program", _LARGEST_ARTIFACT) else None


def keep_beside(crate: Path, path: str, form: str, folder: Path) -> tuple[Path, ...]:
    """Move out, by their names and with the same care, the files beside the artefact that know its lines.

    ``form`` is the artefact's format: some keep the lines in the file itself.
    """
    names = _BESIDE.get(form, lambda _: [])(crate / path)
    found = ((inside(crate, str(one)), folder / str(number)) for number, one in enumerate(names))
    return tuple(there for here, there in found if here and _moved(crate / here, there, _LARGEST_COMPANION))


def _moved(file: Path, there: Path, most: int) -> bool:
    try:
        status = file.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > most:
            return False
        there.parent.mkdir(mode=0o700, exist_ok=True)
        file.rename(there)
        # Whatever bits the run gave it: it is only read from here on.
        there.chmod(0o400)
    except OSError:
        return False
    return True


def _pdb(built: Path) -> list[Path]:
    return [built.with_suffix(".pdb")]


def _objects(built: Path) -> list[Path]:
    """The largest object files that the compiler has left of the crate."""
    begins = f"{built.name.replace('-', '_')}-"
    with suppress(OSError), os.scandir(built.parent / "deps") as entries:
        named = [
            one for one in islice(entries, _MOST_LISTED) if one.name.startswith(begins) and one.name.endswith(".o")
        ]
        named.sort(key=lambda one: -one.stat(follow_symlinks=False).st_size)
        return [Path(one) for one in named[:_MOST_COMPANIONS]]
    return []


_BESIDE = {"PE": _pdb, "Mach-O": _objects}


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
