"""Read the files of a course. Each mistake is reported with its file and key."""

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

_M = TypeVar("_M", bound=BaseModel)


class CourseError(Exception):
    """A course or a lesson that cannot be loaded; the message names the file and, where there is one, the key."""


def parse_content(path: Path, model: type[_M]) -> _M:
    """Parse and validate a TOML file as ``model``. Raises ``CourseError`` with the file and the key."""
    try:
        table = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise CourseError(f"{path}: {error}") from error
    try:
        return model.model_validate(table)
    except ValidationError as error:
        wrong = (f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors())
        raise CourseError(f"{path}: {'; '.join(wrong)}") from error


def read_tree(folder: Path) -> dict[str, str]:
    """Return the texts of all files below a folder, by path. Raises ``CourseError`` if there is no folder."""
    if not folder.is_dir():
        raise CourseError(f"{folder}: there is no such folder")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): read_text(path) for path in files}


def read_text(path: Path) -> str:
    """Return a file's text. Raises ``CourseError`` if it cannot be read as UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CourseError(f"{path}: cannot be read: {error}") from error
