"""Export a lesson's crate: as a zip that builds with plain cargo, or as a shell script that creates the crate."""

import io
import shlex
import string
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from app.course import Course, Lesson
from app.protocol.command import CommandError, parse
from app.web.words import readme, script_target, script_title

_LETTERS = "E" + string.ascii_letters
_WHEN = (1980, 1, 1, 0, 0, 0)  # a fixed time, so that the same files make the same zip


def as_zip(course: Course, lesson: Lesson, files: Mapping[str, str], command: str) -> bytes:
    """Return a zip with the crate in a folder of its name, and a README that says what to run."""
    source = f"*{course.post.title}*, <{course.post.address}>"
    about = readme(lesson.title, lesson.goal, source, _targets(lesson), commands(lesson, command))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in ({"README.md": about} | dict(files)).items():
            entry = zipfile.ZipInfo(f"{course.crate}/{path}", _WHEN)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def as_script(course: Course, lesson: Lesson, files: Mapping[str, str], command: str) -> str:
    """Return a shell script that creates the crate in a new folder, runs the command and exits with its exit code."""
    lines = [
        "#!/bin/sh",
        *(f"# {line}" for line in script_title(lesson.title.replace("`", ""), course.post.address, course.crate)),
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
            _heredoc(path, text),
        ]
    lines += ["", *(f"# {script_target(each)}" for each in _targets(lesson))]
    return "\n".join([*lines, *commands(lesson, command)]) + "\n"


def commands(lesson: Lesson, command: str) -> Sequence[str]:
    """Return the commands to run: the learner's after the build it needs, or the lesson's first if that is invalid."""
    try:
        looks = parse(command).needs_artifact
    except CommandError:
        return lesson.commands[:1]
    return [lesson.commands[0], command] if looks else [command]


def _heredoc(path: str, text: str) -> str:
    lines = text.removesuffix("\n").split("\n")
    # If a line begins like the delimiter and goes on with a byte that is not ASCII, dash loses that byte.
    beginnings = {line[:1] for line in lines}
    first = next((letter for letter in _LETTERS if letter not in beginnings), _LETTERS[0])
    end = f"{first}ND"
    while end in lines:
        end += "_"
    return "\n".join([f"cat > {shlex.quote(path)} <<'{end}'", *lines, end])


def _targets(lesson: Lesson) -> Sequence[str]:
    return [f"rustup target add {target}" for target in lesson.targets]
