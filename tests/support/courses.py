"""Course files for tests, and the recorded results of the shipped course."""

from collections.abc import Iterator

from app.course import Lesson
from app.course.prove import Proof
from app.protocol.events import Diagnostic
from tests.support.environment import BARE_METAL


def course_toml(*lessons: str, bare_keys: bool = True) -> str:
    """Return the ``course.toml`` of a course with one part that holds the lessons in these folders."""
    return f"""
title = "A Course"
intro = "What it is about."
crate = "blog_os"
essential_targets = ["{BARE_METAL}"]
bare_keys = {str(bare_keys).lower()}
[post]
title = "A Post"
author = "An Author"
address = "https://example.org/a-post/"
licence = "Its content is [free](https://example.org/licence)."
[post.sections]
"A section" = "a-section"
"Panic Implementation" = "panic-implementation"
[[part]]
title = "Steps"
lessons = {list(lessons)}
"""


def recorded_proofs(lessons: dict[str, Lesson]) -> Iterator[Proof]:
    """Yield the proofs that a lesson check would have produced when the recordings were made."""
    for lesson in lessons.values():
        for run in lesson.recordings:
            classes = [event.error_class for event in run.events if isinstance(event, Diagnostic) and event.error_class]
            what = run.what
            yield Proof(lesson.slug, what.generation, what.files, what.command, classes=tuple(dict.fromkeys(classes)))
