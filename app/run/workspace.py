"""Merge a learner's edits into a crate, lay the crate into a run's folder, and take the artifact out of it."""

import posixpath
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

from app.course.lesson import Lesson
from app.runfiles import HiddenError, RunFolder

HOME = "home"
"""The home folder of a run's programs, in the run's folder."""
PROGRAM = "program"
"""The name under which a built file is kept."""

_INVALID_IN_PATH = re.compile("[\0\ud800-\udfff]")
"""Characters that are invalid in a path on this system or in JSON."""
_PLACE_OF = {
    **dict.fromkeys(("config", "config.toml", "cargo-config.toml"), ".cargo/config.toml"),
    **dict.fromkeys(("manifest.toml", "cargo.toml.txt"), "Cargo.toml"),
    **dict.fromkeys(("lib.rs", "mod.rs"), "src/main.rs"),
}
"""The file in which the text of a file with another name belongs."""
_UNNEEDED = {
    "cargo.lock": "cargo makes it by itself",
    "build.rs": "nothing has to be generated before the crate is built",
    **dict.fromkeys(("rust-toolchain", "rust-toolchain.toml"), "the compiler is chosen beside the command"),
    **dict.fromkeys((".gitignore", "readme.md"), "the crate is not put under version control"),
    **dict.fromkeys(("rustfmt.toml", ".rustfmt.toml", "clippy.toml"), "the usual settings apply"),
}
"""Files that readers may have but the lessons do not need, and why."""
_LONGEST_PATH = 4096
LARGEST_ARTIFACT = 64 * 1024 * 1024
_LARGEST_COMPANION = 8 * 1024 * 1024
_MOST_COMPANIONS = 8
_MOST_LISTED = 1000
_LONGEST_NEW_FILE = 64 * 1024
_LONGEST_CONFIG = 16 * 1024
_MOST_DOTS = 8


class EditError(ValueError):
    """Edits that cannot be accepted: a stable ``code``, a sentence that says what to change, and the ``field``."""

    def __init__(self, code: str, message: str, field: str) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


def merge(lesson: Lesson, edits: Mapping[str, str], file_bytes: int) -> dict[str, str]:
    """Return the whole crate: the lesson's files with the learner's edits.

    Raises ``EditError`` for a path that learners cannot edit in this lesson, and for a text that is longer than
    ``file_bytes`` bytes, contains a NUL, or is not Unicode.
    """
    for path, text in edits.items():
        field = f"files.{path[:80]}".encode("utf-8", "replace").decode()
        if path not in lesson.editable:
            raise EditError("not-editable", _why_not_editable(path, lesson.editable), field)
        if "\0" in text:
            raise EditError("nul-byte", f"{path} contains a NUL byte; remove it.", field)
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise EditError("not-unicode", f"{path} contains half a surrogate pair; remove it.", field) from error
        if size > file_bytes:
            limit = f"{file_bytes // 1024} KiB"
            raise EditError("file-too-large", f"{path} is {size} bytes long; shorten it to {limit} or less.", field)
    return {**lesson.files, **edits}


def _why_not_editable(path: str, editable: Sequence[str]) -> str:
    """Return a sentence on a file that cannot be edited, and on where its text belongs."""
    shown = f"`{repr(path[:80])[1:-1]}`"
    name = PurePosixPath(path).name.lower()
    place = _PLACE_OF.get(name) or next((each for each in editable if PurePosixPath(each).name.lower() == name), None)
    allowed = " and ".join(f"`{each}`" for each in editable)
    if name in _UNNEEDED:
        return f"{shown} cannot be edited and is not needed: {_UNNEEDED[name]}. {allowed} can be edited."
    if place in editable:
        return f"{shown} cannot be edited in this lesson; its text belongs in `{place}`."
    if place:
        return f"{shown} cannot be edited: its text belongs in `{place}`, which this lesson leaves out; {allowed} can."
    if name.endswith(".json"):
        return f"{shown} cannot be edited: no lesson has a target of its own making; {allowed} can."
    return f"{shown} cannot be edited in this lesson; {allowed} can."


def configured_targets(files: Mapping[str, str]) -> tuple[str, ...]:
    """Return the targets in the crate's configuration, empty for the host and for a file that is too costly to parse.

    For a key of n parts ``tomllib`` takes time and memory that grow with n squared: 4 GB for 64 KiB.
    """
    config = files.get(".cargo/config.toml", "")
    if len(config) > _LONGEST_CONFIG or any(line.count(".") > _MOST_DOTS for line in config.split("\n")):
        return ()
    try:
        named = tomllib.loads(config).get("build", {}).get("target")
    except (tomllib.TOMLDecodeError, AttributeError, RecursionError):  # cargo reports the error
        return ()
    several = named if isinstance(named, list) else [named]
    return tuple(each for each in several if isinstance(each, str))


@dataclass(frozen=True)
class Seed:
    """Files that save cargo its queries to the compiler, by their path in the crate and in the home folder."""

    crate: Mapping[str, bytes] = field(default_factory=dict)
    home: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Workspace:
    """The folder of one run, and the crate in it.

    ``crate`` is the name of the crate's folder, which cargo shows beside the crate's own name.
    """

    folder: RunFolder
    crate: str

    @property
    def root(self) -> Path:
        """Return the crate's folder, in which its commands start."""
        return self.folder.path / self.crate

    def lay(self, files: Mapping[str, str], seed: Seed | None = None) -> None:
        """Make the run's folder, which must not exist yet, with ``files`` as its crate, a home folder, and the seed."""
        self.folder.make()
        self.folder.make_folder(self.crate)
        self.folder.make_folder(HOME)
        for path, text in files.items():
            self.folder.write(f"{self.crate}/{path}", text.encode())
        for path, data in (seed.crate if seed else {}).items():
            self.folder.write(f"{self.crate}/{path}", data)
        for path, data in (seed.home if seed else {}).items():
            self.folder.write(f"{HOME}/{path}", data)

    def add(self, files: Mapping[str, str]) -> None:
        """Lay ``files`` into a crate that ``lay`` has made without them, and whose run has not started."""
        paths = [f"{self.crate}/{path}" for path in files]
        for path, text in zip(paths, files.values(), strict=True):
            self.folder.write(path, text.encode())
        self.folder.give_files(paths)

    def place(self, path: str, built: Path) -> bool:
        """Place the artifact of an earlier run, read-only, where cargo had put it.

        Return False if the artifact has expired, or if this crate has a file in the way.
        """
        try:
            self.folder.copy_in(f"{self.crate}/{path}", built)
        except (FileExistsError, FileNotFoundError, NotADirectoryError):
            return False
        return True

    def inside(self, executable: str) -> str | None:
        """Return the path in the crate of a file that cargo names, or None if it is not below the crate.

        Not only below ``target``: a configuration may name another folder. The run may have forged the text.
        """
        if len(executable) > _LONGEST_PATH or _INVALID_IN_PATH.search(executable):
            return None
        path = posixpath.normpath(executable)
        above = f"{self.root}/"
        return path.removeprefix(above) if path.startswith(above) else None

    def keep(self, path: str, kept: Path) -> int | None:
        """Move the artifact out of the crate to ``kept/program``; return its size, or None if it cannot be taken."""
        return self.folder.take(f"{self.crate}/{path}", kept / PROGRAM, LARGEST_ARTIFACT)

    def keep_beside(self, path: str, form: str, kept: Path) -> tuple[tuple[Path, ...], int]:
        """Move out the files beside the artifact that hold its debug information; return them and their bytes.

        ``form`` is the artifact's format: some formats hold the debug information in the artifact itself.
        """
        built = PurePosixPath(self.crate, path)
        match form:
            case "PE":
                names = [str(built.with_suffix(".pdb"))]
            case "Mach-O":
                names = _object_files(self.folder, built)
            case _:
                names = []
        taken: dict[Path, int] = {}
        for number, name in enumerate(names):
            size = self.folder.take(name, kept / str(number), _LARGEST_COMPANION)
            if size is not None:
                taken[kept / str(number)] = size
        return tuple(taken), sum(taken.values())

    def read(self, path: str, limit: int) -> str | None:
        """Return the text of a file of the crate; None if it is missing, not text, or longer than ``limit`` bytes."""
        data = self.folder.read(f"{self.crate}/{path}", limit)
        with suppress(UnicodeDecodeError):
            return None if data is None else data.decode()
        return None

    def size_of(self, path: str) -> int | None:
        """Return the size of a regular file of the crate, or None if there is none."""
        return self.folder.size_of(f"{self.crate}/{path}")

    def new_files(self) -> Iterator[tuple[str, str]]:
        """Yield the path and the beginning of the text of each file that ``cargo new`` made, repositories left out."""
        with suppress(HiddenError):
            found = (one.path for one in islice(self.folder.walk(self.crate), _MOST_LISTED))
            for path in sorted(path for path in found if ".git" not in path.split("/")):
                data = self.folder.read(path, _LONGEST_NEW_FILE)
                if data is not None:
                    yield path.removeprefix(f"{self.crate}/"), data.decode("utf-8", "replace")


def _object_files(folder: RunFolder, built: PurePosixPath) -> list[str]:
    """Return the largest object files of the crate, which the compiler leaves beside the artifact."""
    prefix = f"{built.name.replace('-', '_')}-"
    deps = str(built.parent / "deps")
    sized: list[tuple[int, str]] = []
    with suppress(HiddenError):
        for found in islice(folder.walk(deps), _MOST_LISTED):
            name = found.path.removeprefix(f"{deps}/")
            if name.startswith(prefix) and name.endswith(".o") and "/" not in name:
                sized.append((folder.size_of(found.path) or 0, found.path))
    return [path for _, path in sorted(sized, reverse=True)[:_MOST_COMPANIONS]]


def has_companions(form: str) -> bool:
    """Return True if an artifact of this format may have its debug information in files beside it."""
    return form in ("PE", "Mach-O")
