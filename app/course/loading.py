"""Load a ``Course`` and its lessons from their folders. Each mistake is reported with its file and key.

``docs/lesson-format.md`` describes the format for authors.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field, StringConstraints

from app.course.diagnosis import load_diagnosis
from app.course.facts import Content, VersionRange
from app.course.files import CourseError, parse_content, read_text, read_tree
from app.course.glossary import load_glossary
from app.course.lesson import Lesson
from app.course.model import Course, Part, Post
from app.course.recordings import Recording, RecordingError, from_text
from app.course.references import unknown_advised, unknown_class
from app.course.specs import NEIGHBOURS, AdviceSpec, CheckSpec, Detour, Expectation, Prediction

MANIFEST = "course.toml"
RECORDED = "recorded"
"""The folder of a lesson's recordings, with one file per compiler generation: ``recorded/1.96.jsonl``."""
SHARED = "shared"
"""The folder beside the lessons for files that several lessons use."""

_COURSE_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_OFFER = re.compile(r"^```offer\b *(.*?) *$", re.MULTILINE)
_FOLDER = re.compile(r"\d{2}-([a-z0-9]+(?:-[a-z0-9]+)*)")


def is_course_id(text: str) -> bool:
    """Return True if a course's folder may have this name."""
    return _COURSE_ID.fullmatch(text) is not None


class _Part(Content):
    title: str = Field(min_length=1)
    lessons: tuple[str, ...] = Field(min_length=1)
    beyond: bool = False
    about: str = ""


class _CourseManifest(Content):
    title: str = Field(min_length=1)
    intro: str = Field(min_length=1)
    crate: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    essential_targets: tuple[str, ...] = ()
    command: str = Field("cargo build", min_length=1)
    bare_keys: bool = False
    post: Post
    part: tuple[_Part, ...] = Field(min_length=1)


def load_course(folder: Path) -> Course:
    """Load the course in a folder. Raises ``CourseError`` with the file and the key at fault."""
    folder = folder.resolve()
    if not folder.is_dir():
        raise CourseError(f"{folder}: there is no course folder with this name")
    if not is_course_id(folder.name):
        raise CourseError(
            f"{folder}: the name of a course's folder may only have lower-case letters, digits and hyphens"
        )
    manifest = parse_content(folder / MANIFEST, _CourseManifest)
    diagnosis = load_diagnosis(folder / "errors.toml")
    if unknown := unknown_advised(diagnosis):
        raise CourseError(f"{folder / 'errors.toml'}: {unknown}")
    parts = _load_parts(folder, manifest)
    for lesson in (lesson for part in parts for lesson in part.lessons):
        if unknown := unknown_class(lesson, diagnosis):
            raise CourseError(f"{lesson.folder / 'lesson.toml'}: {unknown}")
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


def _load_parts(folder: Path, manifest: _CourseManifest) -> tuple[Part, ...]:
    path = folder / MANIFEST
    parts: list[Part] = []
    names: dict[str, str] = {}  # the folder of each lesson so far, by slug
    for part in manifest.part:
        lessons = []
        for name in part.lessons:
            if not (folder / name).is_dir():
                raise CourseError(f"{path}: part.lessons: there is no folder {name!r}")
            lesson = load_lesson(folder / name, manifest.command)
            key = lesson.slug if manifest.bare_keys else f"{folder.name}/{lesson.slug}"
            lesson = replace(lesson, number=len(names) + 1, course=folder.name, key=key)
            if lesson.slug in names:
                raise CourseError(f"{path}: part.lessons: {name!r} and {names[lesson.slug]!r} have the same slug")
            if lesson.section not in manifest.post.sections:
                raise CourseError(
                    f"{lesson.folder / 'lesson.toml'}: section: post.sections in {MANIFEST} has no {lesson.section!r}"
                )
            if lesson.side_trip_of not in (None, *names):
                raise CourseError(
                    f"{lesson.folder / 'lesson.toml'}: side_trip_of: no lesson before it is {lesson.side_trip_of!r}"
                )
            names[lesson.slug] = name
            lessons.append(lesson)
        parts.append(Part(part.title, tuple(lessons), part.beyond, part.about))
    return tuple(parts)


def _digest(folder: Path, lessons: Iterable[str]) -> str:
    """Return the SHA-256 of the paths and contents of the course's files, without other files in the folder."""
    files = [folder / name for name in (MANIFEST, "errors.toml", "glossary.toml")]
    for name in (SHARED, *lessons):
        files += (folder / name).rglob("*")
    total = hashlib.sha256()
    for path in sorted({path for path in files if path.is_file()}):
        content = path.read_bytes()
        total.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        total.update(content)
    return total.hexdigest()


class _LessonManifest(Content):
    title: str = Field(min_length=1)
    goal: str = Field(min_length=1)
    minutes: int = Field(ge=1, le=60)
    section: str = Field(min_length=1)
    shared: Mapping[str, str] = {}
    edit: tuple[str, ...] = Field(min_length=1)
    commands: tuple[str, ...] | None = Field(None, min_length=1)
    prefill: str | None = Field(None, min_length=1)
    target: str | None = None
    targets: tuple[str, ...] = ()
    compilers: VersionRange | None = None
    side_trip_of: str | None = Field(None, pattern=r"^[a-z0-9-]+$")
    needs: tuple[Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.-]+$")], ...] = ()
    hints: tuple[str, ...] = Field(min_length=1)
    predict: Prediction | None = None
    check: tuple[CheckSpec, ...] = Field(min_length=1)
    detour: tuple[Detour, ...] = ()
    advice: tuple[AdviceSpec, ...] = ()
    expect: tuple[Expectation, ...] = Field(min_length=1)


def load_lesson(folder: Path, command: str = "cargo build") -> Lesson:
    """Load the lesson in a folder named ``NN-slug``; raises ``CourseError``.

    A lesson that lists no commands offers ``command``.
    """
    name = _FOLDER.fullmatch(folder.name)
    if not name:
        raise CourseError(f"{folder}: a lesson's folder is named NN-slug, such as 01-hello-std")
    manifest = parse_content(folder / "lesson.toml", _LessonManifest)
    files = _start_files(folder, manifest.shared)
    changed = folder / "solution"  # absent if the start is already the solution, since git keeps no empty folders
    solution = files | (read_tree(changed) if changed.exists() else {})
    for path in manifest.edit:
        if path not in files:
            raise CourseError(f"{folder / 'lesson.toml'}: edit: {path!r} is not a file below start/")
    extra = sorted(path for path in solution if solution[path] != files.get(path) and path not in manifest.edit)
    if extra:
        raise CourseError(f"{folder / 'solution'}: {extra[0]!r} differs from start/, but a learner cannot edit it")
    variants = {entry.name: solution | read_tree(entry) for entry in sorted(folder.iterdir()) if _is_variant(entry)}
    for expectation in manifest.expect:
        if expectation.files not in ("start", "solution", *NEIGHBOURS, *variants):
            raise CourseError(f"{folder / 'lesson.toml'}: expect: there is no folder {expectation.files!r}")
    text = read_text(folder / "text.md")
    return Lesson(
        slug=name[1],
        title=manifest.title,
        goal=manifest.goal,
        minutes=manifest.minutes,
        section=manifest.section,
        text=text,
        files=files,
        solution=solution,
        editable=manifest.edit,
        commands=manifest.commands or (command,),
        target=manifest.target,
        further_targets=manifest.targets,
        compilers=manifest.compilers,
        variants=variants,
        offers={name: _offered_files(folder, name, manifest.edit) for name in _OFFER.findall(text)},
        hints=manifest.hints,
        checks=manifest.check,
        advice=manifest.advice,
        expectations=manifest.expect,
        prediction=manifest.predict,
        recordings=_load_recordings(folder / RECORDED),
        folder=folder,
        needs=manifest.needs,
        detours=manifest.detour,
        side_trip_of=manifest.side_trip_of,
        prefill=manifest.prefill,
    )


def _start_files(folder: Path, shared: Mapping[str, str]) -> dict[str, str]:
    """Return the files of ``start/`` and the shared files that the lesson uses, sorted by path."""
    files = read_tree(folder / "start")
    for path, name in shared.items():
        source = folder.parent / SHARED / name
        if path in files:
            raise CourseError(f"{folder / 'lesson.toml'}: shared: {path!r} is in start/ as well")
        if not source.is_file():
            raise CourseError(f"{folder / 'lesson.toml'}: shared: there is no file {SHARED}/{name}")
        files[path] = read_text(source)
    return dict(sorted(files.items(), key=lambda item: PurePosixPath(item[0])))


def _is_variant(entry: Path) -> bool:
    return entry.is_dir() and entry.name not in ("start", "solution", *NEIGHBOURS, RECORDED)


def _offered_files(folder: Path, name: str, editable: tuple[str, ...]) -> Mapping[str, str]:
    """Return the files of a variant that the text offers. The learner must be able to edit each of them."""
    if not re.fullmatch(r"[a-z0-9-]+", name) or not _is_variant(folder / name):
        raise CourseError(f"{folder / 'text.md'}: offer: there is no folder {name!r} beside solution/")
    files = read_tree(folder / name)
    if locked := sorted(files.keys() - set(editable)):
        raise CourseError(f"{folder / name}: {locked[0]!r} is offered, but a learner cannot edit it")
    return files


def _load_recordings(folder: Path) -> tuple[Recording, ...]:
    found: list[Recording] = []
    for path in folder.glob("*.jsonl"):
        try:
            found += from_text(read_text(path))
        except RecordingError as error:
            raise CourseError(f"{path}: {error}; playground lessons check --record renews it") from error
    return tuple(sorted(found, key=lambda one: one.what.release, reverse=True))
