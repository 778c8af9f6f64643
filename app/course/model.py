"""Load a ``Course`` from its folder.

``docs/lesson-format.md`` describes ``course.toml`` for authors.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import Field

from app.course.diagnosis import Diagnosis, load_diagnosis
from app.course.facts import Content
from app.course.glossary import Glossary, load_glossary
from app.course.lessons import NEIGHBOURS, SHARED, Lesson, LessonError, load, parse_content
from app.course.references import unknown_advised, unknown_class

MANIFEST = "course.toml"
_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


def is_course_id(text: str) -> bool:
    """Return True if a course's folder may have this name."""
    return _ID.fullmatch(text) is not None


class Post(Content):
    """The post that a course follows, with what the pages need to credit it.

    ``licence`` and ``series`` are Markdown. ``sections`` maps each heading to its anchor in the post.
    """

    title: str = Field(min_length=1)
    author: str = Field(min_length=1)
    address: str = Field(pattern=r"^https?://")
    licence: str = Field(min_length=1)
    series: str = ""
    sections: Mapping[str, str] = Field(min_length=1)

    def link(self, section: str) -> str:
        """Return the address of a section of the post."""
        anchor = self.sections.get(section, "")
        return f"{self.address}#{anchor}" if anchor else self.address


@dataclass(frozen=True)
class Part:
    """A part of a course: steps of the post itself or, if ``beyond`` is True, lessons that go further than the post."""

    title: str
    lessons: tuple[Lesson, ...]
    beyond: bool = False
    about: str = ""


@dataclass(frozen=True)
class Course:
    """One course with its lessons.

    ``id`` is the name of its folder. ``digest`` is the SHA-256, in hexadecimal, of the files that the course consists
    of, so that two machines can tell whether they have the same course. ``crate`` is the name of the crate that
    learners build, and ``essential_targets`` are the triples that the course requires. ``base`` is the path prefix of
    the course's pages, empty for the default course, and ``map`` is the path of the course map.
    """

    id: str
    digest: str
    title: str
    intro: str
    post: Post
    parts: tuple[Part, ...]
    diagnosis: Diagnosis
    glossary: Glossary
    crate: str
    essential_targets: tuple[str, ...]
    folder: Path
    base: str = ""
    map: str = "/"

    def at(self, base: str, course_map: str) -> "Course":
        """Return a copy of the course with its pages at these paths."""
        parts = (
            replace(part, lessons=tuple(replace(one, base=base, map=course_map) for one in part.lessons))
            for part in self.parts
        )
        return replace(self, parts=tuple(parts), base=base, map=course_map)

    @property
    def lessons(self) -> tuple[Lesson, ...]:
        """Every lesson, in course order."""
        return tuple(lesson for part in self.parts for lesson in part.lessons)

    def lesson(self, slug: str) -> Lesson | None:
        """Return the lesson of that slug, or None."""
        return next((lesson for lesson in self.lessons if lesson.slug == slug), None)

    def up_to(self, lesson: Lesson) -> tuple[Lesson, ...]:
        """Return the lessons before this one, and this one, in course order."""
        lessons = self.lessons
        return lessons[: next(number for number, one in enumerate(lessons, 1) if one.slug == lesson.slug)]

    def beside(self, lesson: Lesson, name: str) -> Lesson | None:
        """Return the ``previous`` or the ``next`` lesson, or None at the course's end."""
        lessons = self.lessons
        at = next(number for number, one in enumerate(lessons) if one.slug == lesson.slug)
        at += 1 if name == "next" else -1
        return lessons[at] if 0 <= at < len(lessons) else None

    def files_of(self, lesson: Lesson, name: str) -> Mapping[str, str]:
        """Return the files of ``start``, of ``solution``, of a variant, or those that a learner brings along.

        The files of ``previous`` and ``next`` are that lesson's solution, as far as this one lets a learner edit them.
        """
        if name not in NEIGHBOURS:
            return lesson.crate(name)
        other = self.beside(lesson, name)
        brought = other.solution if other else {}
        return {**lesson.files, **{path: brought[path] for path in lesson.editable if path in brought}}


class _Part(Content):
    title: str = Field(min_length=1)
    lessons: tuple[str, ...] = Field(min_length=1)
    beyond: bool = False
    about: str = ""


class _Manifest(Content):
    title: str = Field(min_length=1)
    intro: str = Field(min_length=1)
    crate: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    essential_targets: tuple[str, ...] = ()
    command: str = Field("cargo build", min_length=1)
    bare_keys: bool = False
    post: Post
    part: tuple[_Part, ...] = Field(min_length=1)


def load_course(folder: Path) -> Course:
    """Load the course in a folder. Raises ``LessonError`` with the file and the key at fault."""
    folder = folder.resolve()
    if not folder.is_dir():
        raise LessonError(f"{folder}: there is no such folder of a course")
    if not is_course_id(folder.name):
        raise LessonError(f"{folder}: a course's folder has lower-case letters, digits and hyphens in its name")
    path = folder / MANIFEST
    manifest = parse_content(path, _Manifest)
    diagnosis = load_diagnosis(folder / "errors.toml")
    if unknown := unknown_advised(diagnosis):
        raise LessonError(f"{folder / 'errors.toml'}: {unknown}")
    parts = _parts(path, manifest)
    for lesson in (lesson for part in parts for lesson in part.lessons):
        if unknown := unknown_class(lesson, diagnosis):
            raise LessonError(f"{lesson.folder / 'lesson.toml'}: {unknown}")
    return Course(
        id=folder.name,
        digest=_digest(folder, (name for part in manifest.part for name in part.lessons)),
        title=manifest.title,
        intro=manifest.intro,
        post=manifest.post,
        parts=parts,
        diagnosis=diagnosis,
        glossary=load_glossary(folder / "glossary.toml"),
        crate=manifest.crate,
        essential_targets=manifest.essential_targets,
        folder=folder,
    )


def _parts(path: Path, manifest: _Manifest) -> tuple[Part, ...]:
    parts: list[Part] = []
    seen: dict[str, str] = {}
    for part in manifest.part:
        lessons = []
        for name in part.lessons:
            if not (path.parent / name).is_dir():
                raise LessonError(f"{path}: part.lessons: there is no folder {name!r}")
            lesson = _placed(
                load(path.parent / name, manifest.command), path.parent.name, len(seen) + 1, bare=manifest.bare_keys
            )
            if lesson.slug in seen:
                raise LessonError(f"{path}: part.lessons: the slug of {name!r} is that of {seen[lesson.slug]!r}, too")
            if lesson.section not in manifest.post.sections:
                raise LessonError(
                    f"{lesson.folder / 'lesson.toml'}: section: post.sections in {MANIFEST} has no {lesson.section!r}"
                )
            if lesson.side_trip_of not in (None, *seen):
                raise LessonError(
                    f"{lesson.folder / 'lesson.toml'}: side_trip_of: no lesson before it is {lesson.side_trip_of!r}"
                )
            seen[lesson.slug] = name
            lessons.append(lesson)
        parts.append(Part(part.title, tuple(lessons), part.beyond, part.about))
    return tuple(parts)


def _placed(lesson: Lesson, course: str, number: int, *, bare: bool) -> Lesson:
    key = lesson.slug if bare else f"{course}/{lesson.slug}"
    return replace(lesson, number=number, course=course, key=key)


def _digest(folder: Path, lessons: Iterable[str]) -> str:
    """Return the SHA-256 of the paths and contents of the course's files. Other files in the folder do not count."""
    files = [folder / name for name in (MANIFEST, "errors.toml", "glossary.toml")]
    for name in (SHARED, *lessons):
        files += (folder / name).rglob("*")
    total = hashlib.sha256()
    for path in sorted({path for path in files if path.is_file()}):
        content = path.read_bytes()
        total.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        total.update(content)
    return total.hexdigest()
