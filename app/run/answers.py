"""Answers that need no process: ``help``, the crate's own files, and why a command cannot start."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

from app.protocol.command import Command
from app.protocol.command.overview import overview
from app.run import words
from app.toolchain import Toolchain, components

_COMPONENT = {"clippy": "clippy", "fmt": "rustfmt"}


@dataclass(frozen=True)
class Answer:
    """The text for standard output, or for standard error if the exit code is not 0."""

    text: str
    exit_code: int = 0


def answer(command: Command, files: Mapping[str, str], built: str | None, folder: str) -> Answer:
    """Return the answer to a command of the kind ``answer``.

    ``built`` is the path of the program that an earlier run has built, ``folder`` the crate's own.
    """
    match command.subcommand:
        case "help":
            return Answer(overview(posixpath.basename(folder)))
        case "pwd":
            return Answer(f"{folder}\n")
        case "cat":
            return _cat(command.options, files)
    return _list(command.options or (".",), [*files, *([built] if built else [])])


def _cat(paths: tuple[str, ...], files: Mapping[str, str]) -> Answer:
    for path in paths:
        if posixpath.normpath(path) not in files:
            near = next((each for each in files if posixpath.basename(each) == posixpath.basename(path)), None)
            return Answer(f"cat: {path}: No such file{f'; there is {near}' if near else ''}\n", 1)
    return Answer("".join(files[posixpath.normpath(path)] for path in paths))


def _list(folders: tuple[str, ...], paths: list[str]) -> Answer:
    pieces: list[str] = []
    for folder in folders:
        above = "" if folder == "." else f"{posixpath.normpath(folder)}/"
        if above[:-1] in paths:
            pieces.append(f"{folder}\n")
            continue
        below = [path.removeprefix(above) for path in paths if path.startswith(above)]
        if not below:
            return Answer(f"ls: {folder}: No such file or folder\n", 2)
        names = sorted({name if not rest else f"{name}/" for name, _, rest in (path.partition("/") for path in below)})
        pieces.append("".join(f"{name}\n" for name in names))
    return Answer("\n".join(pieces))


def reason_not_to_start(command: Command, toolchain: Toolchain, built: str | None) -> str | None:
    """Return a sentence on why the command cannot start, or None if no reason is known."""
    component = _COMPONENT.get(command.subcommand) if command.kind == "cargo" else None
    if component and not components.has(toolchain, component):
        return words.component_missing(component, toolchain.name)
    paths = [posixpath.normpath(word) for word in command.options if not word.startswith("-")]
    absent = next((path for path in paths if path.startswith("target/") and path != built), None)
    if command.kind == "answer" or not command.needs_artifact or absent is None or built is None:
        return None
    return words.built_elsewhere(absent, built)
