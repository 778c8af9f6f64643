"""Helpers for several commands: load settings, courses and lessons, run async work, and stop with a message."""

import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import anyio
import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.course import CourseError, Lesson, Shelf, load_shelf
from app.settings import PREFIX, Settings

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
        stop("\n".join(map(_fault, faults)))


def _fault(error: ErrorDetails) -> str:
    """Return the sentence about one value that cannot be used."""
    name, given, context = _variable(str(error["loc"][0])), error["input"], error.get("ctx", {})
    wanted = {
        "greater_than": "must be greater than {gt:g}",
        "greater_than_equal": "must be at least {ge:.16g}",
        "less_than_equal": "must be at most {le:.16g}",
        "finite_number": "must be a finite number",
        "int_parsing": "must be a whole number",
        "int_parsing_size": "must be a whole number",
        "int_from_float": "must be a whole number",
        "float_parsing": "must be a number",
        "bool_parsing": "must be true or false",
        "literal_error": "must be {expected}",
        "string_type": "must be text",
        "string_too_short": "must not be empty",
    }.get(error["type"])
    if wanted is None:
        return f"{name} cannot be used: {context.get('error') or error['msg']}."
    return f"{name} is {given!r}, but {wanted.format(**context)}."


def _variable(field: str) -> str:
    return f"{PREFIX}{field.upper()}"


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


def refuse(settings: Settings, log: logging.Logger, sentence: str) -> NoReturn:
    """End a service that cannot begin with a sentence in its log, which may be JSON."""
    if settings.log_format == "text":
        stop(sentence)
    log.critical(sentence)
    raise typer.Exit(BAD_USE)


def stop(sentence: str, code: int = BAD_USE) -> NoReturn:
    """Print the sentence to standard error and end the command."""
    print(sentence, file=sys.stderr)
    raise typer.Exit(code)
