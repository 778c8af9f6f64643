"""A lesson's crate to take along: as a zip that builds with plain cargo, or as a script that makes it."""

import io
import shlex
import string
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from app.course import Course, Lesson
from app.protocol.command import CommandError, parse

_LETTERS = "E" + string.ascii_letters
_WHEN = (1980, 1, 1, 0, 0, 0)  # the same files make the same zip


def as_zip(course: Course, lesson: Lesson, files: Mapping[str, str], command: str) -> bytes:
    """The crate in a folder of its name, with a README that says what to give."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in ({"README.md": _readme(course, lesson, command)} | dict(files)).items():
            entry = zipfile.ZipInfo(f"{course.crate}/{path}", _WHEN)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def as_script(course: Course, lesson: Lesson, files: Mapping[str, str], command: str) -> str:
    """A shell script that makes the crate in a new folder and gives the command; its exit code is the command's."""
    lines = [
        "#!/bin/sh",
        f"# {lesson.title.replace('`', '')}, after {course.post.address}",
        f"# Makes the crate in a new folder, {course.crate}, and gives the command.",
        "set -eu",
        "",
        f"cargo new {course.crate} --bin --edition 2018",
        f"cd {course.crate}",
    ]
    for path, text in files.items():
        folder = str(PurePosixPath(path).parent)
        lines += [
            "",
            *([f"mkdir -p {shlex.quote(folder)}"] if folder not in (".", "src") else []),
            _written(path, text),
        ]
    lines += ["", *(f"# Once, if your toolchain does not have it: {each}" for each in _targets(lesson))]
    return "\n".join([*lines, *commands(lesson, command)]) + "\n"


def commands(lesson: Lesson, command: str) -> Sequence[str]:
    """What is to be given: the command in the line, after the build that it looks at; else the lesson's first."""
    try:
        looks = parse(command).needs_artifact
    except CommandError:
        return lesson.commands[:1]
    return [lesson.commands[0], command] if looks else [command]


def _written(path: str, text: str) -> str:
    lines = text.removesuffix("\n").split("\n")
    # In a line that begins as the mark does, dash loses the byte behind that beginning if it is not ASCII.
    begun = {line[:1] for line in lines}
    first = next((letter for letter in _LETTERS if letter not in begun), _LETTERS[0])
    end = f"{first}ND"
    while end in lines:
        end += "_"
    return "\n".join([f"cat > {shlex.quote(path)} <<'{end}'", *lines, end])


def _targets(lesson: Lesson) -> Sequence[str]:
    return [f"rustup target add {target}" for target in lesson.targets]


def _readme(course: Course, lesson: Lesson, command: str) -> str:
    needed = "".join(f"    {each}\n" for each in _targets(lesson))
    once = f"Once, if your toolchain does not have the target yet:\n\n{needed}\n" if needed else ""
    given = "".join(f"    {each}\n" for each in commands(lesson, command))
    return (
        f"# {lesson.title}\n\nThe goal: {lesson.goal}\n\nA step of *{course.post.title}*, <{course.post.address}>.\n\n"
        f"{once}In this folder, give:\n\n{given}"
    )
