"""Helpers for several commands: load settings, courses and lessons, run async work, and stop with a message."""

import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import anyio
import typer
from pydantic import ValidationError

from app.course import CourseError, Lesson, Shelf, load_shelf
from app.settings import Settings

_T = TypeVar("_T")
BAD_USE = 2
"""The exit code of a command that cannot begin."""


def settings_of(**given: Any) -> Settings:
    """Read the settings; ``given`` are those from the command line, which take precedence."""
    try:
        return Settings(**given)
    except ValidationError as error:
        # A default that is computed from another setting fails with that one, which says nothing new.
        faults = [each for each in error.errors() if not each["type"].startswith("default_factory")]
        stop("\n".join(f"PLAYGROUND_{str(each['loc'][0]).upper()}: {_fault(each['msg'])}" for each in faults))


def _fault(message: str) -> str:
    """Return pydantic's words for a value that cannot be used as the end of a sentence."""
    fault = message.removeprefix("Value error, ")
    return f"{fault[0].lower()}{fault[1:]}."


def shelf_of(settings: Settings) -> Shelf:
    """Load the courses, or stop with the sentence that says what is wrong."""
    try:
        return load_shelf(settings.lessons_dir, settings.course)
    except CourseError as error:
        stop(str(error))


def lesson_of(shelf: Shelf, name: str) -> Lesson:
    """Return the lesson of that name, or stop with the names of all."""
    found = shelf.find(name)
    if found is None:
        stop(f"There is no lesson {name!r}; there are {', '.join(lesson.name for lesson in shelf.lessons)}.")
    return found


def run(work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run asynchronous work to its end. An interrupt ends the command with exit code 130."""
    try:
        return anyio.run(work)
    except KeyboardInterrupt:
        stop("Interrupted.", code=130)


def stop(sentence: str, code: int = BAD_USE) -> NoReturn:
    """Print the sentence to standard error and end the command."""
    print(sentence, file=sys.stderr)
    raise typer.Exit(code)
