"""Load a ``Lesson`` from its folder. Each mistake is reported with its file and key.

``docs/lesson-format.md`` describes the format for authors.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, Field, StringConstraints, ValidationError, field_validator, model_validator

from app.course.facts import Content, Facts, RunFacts, Situation, VersionRange
from app.course.patterns import part_names
from app.course.recordings import Recording, RecordingError, from_text
from app.protocol.command import parse

_M = TypeVar("_M", bound=BaseModel)

NEIGHBOURS = ("previous", "next")
"""The names of files of other steps: the solutions of those beside this one, as a learner would bring them along."""
RECORDED = "recorded"
"""The folder of a lesson's recordings, with one file per compiler generation: ``recorded/1.96.jsonl``."""
SHARED = "shared"
"""The folder beside the lessons for files that several lessons use."""

WORDS = frozenset(
    "attribute character class code column command expected file line looks meant number places said shown step target "
    "text typed".split()
)
"""The names that stand for something in the texts of advice, where it is known."""

_WORD = re.compile(r"\{\{(\w+)\}\}")
_OFFER = re.compile(r"^```offer\b *(.*?) *$", re.MULTILINE)
_FOLDER = re.compile(r"\d{2}-([a-z0-9]+(?:-[a-z0-9]+)*)")


class LessonError(Exception):
    """A lesson that cannot be loaded; the message names the file and, where there is one, the key."""


class CheckSpec(Facts):
    """One condition of the goal: an id, a title for the learner, and the facts that must hold.

    ``on`` overrides facts for a range of compiler versions: ``on."<1.70".errors = [...]``.
    """

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    title: str = Field(min_length=1)
    on: Mapping[VersionRange, Facts] = {}


class Example(Content):
    """An example for the learner: code, and its language for the colours."""

    language: Literal["rust", "toml", "console", "text"]
    code: str = Field(min_length=1)


class AdviceSpec(Content):
    """A cause, for learners in this situation: a title, what was seen, what helps and an example of it.

    ``{{name}}`` in a text stands for what is known by that name of the run (``WORDS``), or of a pattern's group
    ``(?P<name>…)``. ``place`` is among all the advice: before what lessons say of their own, or after everything else.
    """

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    title: str = Field(min_length=1)
    seen: str = ""
    helps: str = Field(min_length=1)
    example: Example | None = None
    place: Literal["first", "last"] | None = None
    when: Situation

    @property
    def is_about_files(self) -> bool:
        """Return True if the situation depends on what is written in the learner's files."""
        when = self.when
        return any(fact is not None for fact in (when.main, when.manifest, when.config, when.toml, when.lookalike))

    @property
    def words(self) -> frozenset[str]:
        """The names that stand between ``{{`` and ``}}``."""
        texts = (self.title, self.seen, self.helps, self.example.code if self.example else "")
        return frozenset(name for text in texts for name in _WORD.findall(text))

    @model_validator(mode="after")
    def _names_known_words(self) -> Self:
        patterns = [*self.when.message, *(one for one in (self.when.output, self.when.warning) if one)]
        known = WORDS.union(*map(part_names, patterns))
        if unknown := sorted(self.words - known):
            raise ValueError(f"nothing is known by the name {{{{{unknown[0]}}}}}; known are {', '.join(sorted(known))}")
        return self


class Detour(RunFacts):
    """A command that the text asks for and that does not reach the goal; ``text`` says what it shows.

    A run is this detour if the command is the same and the facts hold.
    """

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    command: str
    text: str = Field(min_length=1)

    @field_validator("command")
    @classmethod
    def _understood(cls, line: str) -> str:
        parse(line)
        return line


class Proven(RunFacts):
    """The facts of a run that ``lessons check`` requires, and the id of its advice (empty for none)."""

    advice: str | None = Field(None, pattern=r"^[a-z0-9-]*$")


class Expectation(Proven):
    """A claim that ``lessons check`` proves: these files under this command show these facts."""

    files: str = Field(pattern=r"^[a-z0-9-]+$")  # start, solution, previous, next, or the folder of a variant
    command: str
    reached: bool
    toolchains: VersionRange | None = None  # only these compilers; None means all
    host: str | None = Field(None, pattern=r"^[a-z0-9_]+$")  # only compilers whose host triple has this architecture
    lacks_target: bool = False  # only compilers that lack the target of the command
    detour: str | None = Field(None, pattern=r"^[a-z0-9-]+$")  # the detour as which the run is answered
    on: Mapping[VersionRange, Proven] = {}

    @property
    def is_neighbour(self) -> bool:
        """Return True if the files are those with which a neighbouring step ends."""
        return self.files in NEIGHBOURS

    def is_for(self, host: str) -> bool:
        """Return True if the claim is about compilers with this host triple."""
        return self.host in (None, host.partition("-")[0])


class Option(RunFacts):
    """One answer to the prediction's question: it is right if its facts hold for the run.

    ``because`` explains to the learner, after the run, why the answer is right or wrong.
    """

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    text: str = Field(min_length=1)
    because: str = Field(min_length=1)
    on: Mapping[VersionRange, RunFacts] = {}

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not RunFacts.model_fields.keys() & self.model_fields_set:
            raise ValueError(f"an option names facts: {', '.join(RunFacts.model_fields)}")
        return self


class Prediction(Content):
    """A question about the run that reaches the goal, asked before the first run.

    With ``on_start`` it is about that command on the step's own files instead. The right option is not written down
    anywhere: it is the one whose facts hold for the run.
    """

    question: str = Field(min_length=1)
    on_start: str | None = Field(None, min_length=1)
    option: tuple[Option, ...] = Field(min_length=2, max_length=4)

    @field_validator("option")
    @classmethod
    def _distinct(cls, options: tuple[Option, ...]) -> tuple[Option, ...]:
        if len({option.id for option in options}) < len(options):
            raise ValueError("two options have the same id")
        return options


class _Manifest(Content):
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


@dataclass(frozen=True)
class Lesson:
    """One step of a course.

    ``files`` and ``solution`` map paths in the crate to texts. ``editable`` lists the paths that the learner may
    change, in display order. ``target`` is the triple that the lesson requires, or None for the host;
    ``further_targets`` are the triples of its other commands. ``needs`` are the programs that it requires.
    ``compilers`` is the range of versions that it is about, if it is about particular ones. ``variants`` maps a name to
    a whole crate that ``lessons check`` runs; ``offers`` maps the variants that the text offers to their own files.
    ``recordings`` are the recorded runs, newest compiler first. ``folder`` is the folder that the lesson was loaded
    from. ``detours`` are the commands of the text that do not reach the goal. ``side_trip_of`` is the slug of the
    lesson that this optional one belongs to, or None. ``prefill`` is the command that the command line begins with, or
    None for the first of ``commands``.

    A course sets ``number`` (from 1), ``course`` (its id) and ``key``, under which a learner's texts and progress are
    stored. ``base`` is the path prefix of the course's pages, empty for the default course; ``map`` is the path of the
    course map.
    """

    slug: str
    title: str
    goal: str
    minutes: int
    section: str
    text: str
    files: Mapping[str, str]
    solution: Mapping[str, str]
    editable: tuple[str, ...]
    commands: tuple[str, ...]
    target: str | None
    hints: tuple[str, ...]
    checks: tuple[CheckSpec, ...]
    advice: tuple[AdviceSpec, ...]
    expectations: tuple[Expectation, ...]
    number: int = 0
    course: str = ""
    key: str = ""
    base: str = ""
    map: str = "/"
    prediction: Prediction | None = None
    needs: tuple[str, ...] = ()
    further_targets: tuple[str, ...] = ()
    compilers: str | None = None
    variants: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    offers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    detours: tuple[Detour, ...] = ()
    side_trip_of: str | None = None
    prefill: str | None = None
    recordings: tuple[Recording, ...] = ()
    folder: Path = Path()

    def crate(self, name: str) -> Mapping[str, str]:
        """Return the files of ``start``, ``solution`` or a variant."""
        return {"start": self.files, "solution": self.solution, **self.variants}[name]

    @property
    def name(self) -> str:
        """The lesson's name in commands and requests: the slug alone in the default course, else ``course/slug``."""
        return f"{self.course}/{self.slug}" if self.base else self.slug

    def leads_into(self, following: "Lesson") -> bool:
        """Return True if the next lesson starts with exactly the files that this one ends with."""
        return self.solution == following.files

    @property
    def address(self) -> str:
        """The path of the lesson's page, relative to the playground's root."""
        return f"{self.base}/lessons/{self.slug}"

    @property
    def editable_files(self) -> dict[str, str]:
        """The texts that a learner begins with and may edit, by path."""
        return {path: self.files[path] for path in self.editable}

    @property
    def targets(self) -> tuple[str, ...]:
        """The triples other than the host's that the lesson builds for, without duplicates."""
        return tuple(dict.fromkeys((*((self.target,) if self.target else ()), *self.further_targets)))

    @property
    def first_command(self) -> str:
        """The command that the command line begins with."""
        return self.prefill or self.commands[0]

    @property
    def is_about_a_screen(self) -> bool:
        """True if the goal is something on the screen of an emulated machine."""
        return any(check.machine and check.machine.screen for check in self.checks)

    @property
    def ends_with_a_code(self) -> bool:
        """True if the goal is an exit code other than 0, which cargo reports as a failure although nothing is wrong."""
        return any(check.exit_code for check in self.checks)


def load(folder: Path, command: str = "cargo build") -> Lesson:
    """Load the lesson in a folder named ``NN-slug``; raises ``LessonError``.

    A lesson that lists no commands offers ``command``.
    """
    name = _FOLDER.fullmatch(folder.name)
    if not name:
        raise LessonError(f"{folder}: a lesson's folder is named NN-slug, such as 01-hello-std")
    manifest = parse_content(folder / "lesson.toml", _Manifest)
    files = _start(folder, manifest.shared)
    changed = folder / "solution"  # absent if the start is already the solution, since git keeps no empty folders
    solution = files | (_tree(changed) if changed.exists() else {})
    for path in manifest.edit:
        if path not in files:
            raise LessonError(f"{folder / 'lesson.toml'}: edit: {path!r} is not a file below start/")
    extra = sorted(path for path in solution if solution[path] != files.get(path) and path not in manifest.edit)
    if extra:
        raise LessonError(f"{folder / 'solution'}: {extra[0]!r} differs from start/, but a learner cannot edit it")
    variants = {entry.name: solution | _tree(entry) for entry in sorted(folder.iterdir()) if _is_variant(entry)}
    for expectation in manifest.expect:
        if expectation.files not in ("start", "solution", *NEIGHBOURS, *variants):
            raise LessonError(f"{folder / 'lesson.toml'}: expect: there is no folder {expectation.files!r}")
    text = _read(folder / "text.md")
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
        offers={name: _offered(folder, name, manifest.edit) for name in _OFFER.findall(text)},
        hints=manifest.hints,
        checks=manifest.check,
        advice=manifest.advice,
        expectations=manifest.expect,
        prediction=manifest.predict,
        recordings=_recordings(folder / RECORDED),
        folder=folder,
        needs=manifest.needs,
        detours=manifest.detour,
        side_trip_of=manifest.side_trip_of,
        prefill=manifest.prefill,
    )


def _start(folder: Path, shared: Mapping[str, str]) -> dict[str, str]:
    """Return the files of ``start/`` and the shared files that the lesson uses, sorted by path."""
    files = _tree(folder / "start")
    for path, name in shared.items():
        source = folder.parent / SHARED / name
        if path in files:
            raise LessonError(f"{folder / 'lesson.toml'}: shared: {path!r} lies in start/, too")
        if not source.is_file():
            raise LessonError(f"{folder / 'lesson.toml'}: shared: there is no file {SHARED}/{name}")
        files[path] = _read(source)
    return dict(sorted(files.items(), key=lambda item: PurePosixPath(item[0])))


def _is_variant(entry: Path) -> bool:
    return entry.is_dir() and entry.name not in ("start", "solution", *NEIGHBOURS, RECORDED)


def _offered(folder: Path, name: str, editable: tuple[str, ...]) -> Mapping[str, str]:
    """Return the files of a variant that the text offers. The learner must be able to edit each of them."""
    if not re.fullmatch(r"[a-z0-9-]+", name) or not _is_variant(folder / name):
        raise LessonError(f"{folder / 'text.md'}: offer: there is no folder {name!r} beside solution/")
    files = _tree(folder / name)
    if locked := sorted(files.keys() - set(editable)):
        raise LessonError(f"{folder / name}: {locked[0]!r} is offered, but a learner cannot edit it")
    return files


def parse_content(path: Path, model: type[_M]) -> _M:
    """Parse and validate a TOML file as ``model``. Raises ``LessonError`` with the file and the key."""
    try:
        table = tomllib.loads(_read(path))
    except tomllib.TOMLDecodeError as error:
        raise LessonError(f"{path}: {error}") from error
    try:
        return model.model_validate(table)
    except ValidationError as error:
        wrong = (f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors())
        raise LessonError(f"{path}: {'; '.join(wrong)}") from error


def _recordings(folder: Path) -> tuple[Recording, ...]:
    found: list[Recording] = []
    for path in folder.glob("*.jsonl"):
        try:
            found += from_text(_read(path))
        except RecordingError as error:
            raise LessonError(f"{path}: {error}; playground lessons check --record writes it anew") from error
    return tuple(sorted(found, key=lambda one: one.what.release, reverse=True))


def _tree(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        raise LessonError(f"{folder}: there is no such folder")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _read(path) for path in files}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LessonError(f"{path}: cannot be read: {error}") from error
