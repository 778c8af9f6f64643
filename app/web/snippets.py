"""Code blocks of a lesson's text that belong into one of its files, and the files with such a block inserted.

Where a block belongs is not written down: it is where the solution has its lines.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from markdown_it.token import Token

from app.course.lesson import Lesson
from app.web.diff import apply, compare


def home_of(lesson: Lesson, code: str) -> str | None:
    """Return the path of the file that the code belongs into; None if it is no new part of the solution."""
    wanted = _lines(code)
    for path in lesson.editable if wanted else ():
        if _within(wanted, _lines(lesson.solution[path])) and not _within(wanted, _lines(lesson.files[path])):
            return path
    return None


def inserted(lesson: Lesson, code: str, files: Mapping[str, str]) -> Mapping[str, str]:
    """Return the files with the places of the solution that bring the code's lines; unchanged if they have them."""
    path = home_of(lesson, code)
    if path is None:
        return files
    wanted, given = set(_lines(code)), set(_lines(lesson.files[path]))
    text = files.get(path, lesson.files[path])
    # From the end, so that the places before it keep their lines.
    for hunk in reversed(compare(text, lesson.solution[path], context=0)):
        if any(line.kind == "new" and line.text.strip() in wanted for line in hunk.lines):
            # What the solution replaces goes, but nothing that the learner has written.
            mine = [line.text for line in hunk.lines if line.kind == "old" and line.text.strip() not in given | {""}]
            text = apply(text, replace(hunk, new=(*hunk.new, *mine)))
    return {**files, path: text}


def code_blocks(tokens: Sequence[Token]) -> Iterator[Token]:
    """Yield the fences of a parsed text that hold code, in their order: their numbers name them."""
    for token in tokens:
        if token.type == "fence" and token.info.split()[:1] not in (["recorded"], ["offer"]):
            yield token


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _within(wanted: Sequence[str], lines: Sequence[str]) -> bool:
    """Return True if all of ``wanted`` stand in ``lines`` in this order."""
    rest = iter(lines)
    return all(line in rest for line in wanted)
