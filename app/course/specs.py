"""The tables of ``lesson.toml`` and ``errors.toml``, as types that validate them.

``docs/lesson-format.md`` describes them for authors.
"""

import re
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from app.course.facts import Content, Facts, RunFacts, Situation, VersionRange
from app.course.patterns import group_names
from app.protocol.command import parse

NEIGHBOURS = ("previous", "next")
"""The names for the solutions of the previous and the next step, for a learner who keeps those files."""

WORDS = frozenset(
    "attribute character class code column command expected file line looks meant number places said shown step target "
    "text typed".split()
)
"""The names that the texts of advice may use, each replaced if it is known."""

_WORD = re.compile(r"\{\{(\w+)\}\}")


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

    ``{{name}}`` in a text is replaced by the run's word of that name (``WORDS``), or by a pattern's group
    ``(?P<name>…)``. ``place`` puts the advice before the lessons' own or after all other advice.
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
        known = WORDS.union(*map(group_names, patterns))
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
        """Return True if the files are a neighbouring step's solution."""
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
