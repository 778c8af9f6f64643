"""The type ``Lesson``: one step of a course, loaded and checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.course.recordings import Recording
from app.course.specs import AdviceSpec, CheckSpec, Detour, Expectation, Prediction


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
