"""Jobs for the lessons of the shipped courses."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from app.course import Lesson, load_shelf
from app.protocol.command import Command
from app.protocol.job import JobSpec
from app.settings import Settings
from app.toolchain import Toolchain


@cache
def _digests() -> Mapping[str, str]:
    return {course.id: course.digest for course in load_shelf(Settings().lessons_dir).courses}


def job(lesson: Lesson, files: Mapping[str, str], command: Command, toolchain: Toolchain | str, **more: Any) -> JobSpec:
    """Return a job of this lesson."""
    name = toolchain if isinstance(toolchain, str) else toolchain.name
    return JobSpec(
        course=lesson.course,
        digest=_digests()[lesson.course],
        lesson=lesson.slug,
        files=files,
        command=command,
        toolchain=name,
        **more,
    )
