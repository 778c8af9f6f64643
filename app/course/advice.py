"""Advice for a learner whose run misses the goal: the one that fits best.

Pure. Unlike the verdict, advice may depend on the contents of the learner's files.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app.course.checks import FinishedRun, goal_errors, misses, reaches
from app.course.crate import CONFIG, MAIN, MANIFEST, CrateFacts, Mark, Source, Table
from app.course.diagnosis import Diagnosis, searched_text
from app.course.facts import Facts, Situation, SourceFacts, TableFacts, in_range
from app.course.lesson import Lesson
from app.course.patterns import named_groups
from app.course.specs import AdviceSpec
from app.protocol.events import Advice, Diagnostic, Verdict

HOST = "host"
"""The name of this computer's own target in ``Situation.target``."""

_TARGET = "build.target = "
_LONGEST_WORD = 160
_TRUSTED_WORDS = ("command", "expected", "number", "step")
"""The words that come from the course. All others are untrusted."""
_RUN_FACTS = frozenset(Facts.model_fields) - {"errors"}

Words = dict[str, str]


@dataclass(frozen=True)
class Case:
    """A run that missed the goal of a lesson, one of the ``steps`` of its course, and the crate that was run."""

    lesson: Lesson
    steps: Sequence[Lesson]
    diagnosis: Diagnosis
    version: str
    seen: FinishedRun
    crate: CrateFacts = field(default_factory=CrateFacts)

    @property
    def unexpected(self) -> tuple[Diagnostic, ...]:
        """The errors that the goal does not ask for."""
        goal = goal_errors(self.lesson, self.version)
        return tuple(error for error in self.seen.errors if error.error_class not in goal)

    @property
    def target(self) -> str:
        """The triple that the command builds for, or ``HOST``."""
        name = self.seen.command.target
        if name is None:
            marks = self.crate.config.marks if self.crate.config else ()
            named = (mark.name.removeprefix(_TARGET).strip('"') for mark in marks if mark.name.startswith(_TARGET))
            name = next(named, None)
        return HOST if name is None or name == self.seen.host else name

    @property
    def is_own_target(self) -> bool:
        """Return True if the command builds for a target that the step is about."""
        return self.target in self.lesson.targets if self.lesson.target else self.target in (HOST, *self.lesson.targets)


def advised(case: Case, verdict: Verdict) -> Verdict:
    """Return the verdict on a missed goal with its advice.

    Advice about the learner's own files replaces a detour, because the text asked for a different run.
    """
    for spec in _in_order(case.lesson.advice, case.diagnosis.advice):
        words = _words_if_it_fits(spec.when, case)
        if words is not None and spec.words <= words.keys():
            detour = None if spec.is_about_files else verdict.detour
            return verdict.model_copy(update={"advice": (_to_advice(spec, words),), "detour": detour})
    return verdict


def _in_order(own: Sequence[AdviceSpec], general: Sequence[AdviceSpec]) -> Iterator[AdviceSpec]:
    """Yield advice by its place; at each, the lesson's own comes before what every lesson has.

    A lesson's advice with the id of a general one has that one's place.
    """
    places = {spec.id: spec.place for spec in reversed(general)}
    for place in ("first", None, "last"):
        yield from (spec for spec in own if (spec.place or places.get(spec.id)) == place)
        yield from (spec for spec in general if spec.place == place)


def _to_advice(spec: AdviceSpec, words: Mapping[str, str]) -> Advice:
    paragraph = " ".join(text.strip() for text in (spec.seen, spec.helps) if text)
    example = f"\n\n```{spec.example.language}\n{spec.example.code.strip()}\n```" if spec.example else ""
    return Advice(id=spec.id, text=_fill_in(paragraph + example, words), title=_fill_in(spec.title, words))


def _fill_in(text: str, words: Mapping[str, str]) -> str:
    for name, word in words.items():
        text = text.replace("{{" + name + "}}", word)
    return text


def _words_if_it_fits(when: Situation, case: Case) -> Words | None:
    """Return the words for the texts of an advice, or None if it does not fit.

    Each ``_match`` function does the same for a part of the situation: its words, none if that part is not given, or
    None if it does not match.
    """
    seen = case.seen
    run = Facts.model_validate({name: getattr(when, name) for name in _RUN_FACTS & when.model_fields_set})
    if any(misses(run, seen)) or not _matches_command(when, case):
        return None
    words = _common_words(case)
    for more in (
        _match_errors(when, case),
        _match_texts(when, case),
        _match_step(when, case),
        _match_lookalike(when, case),
        _match_source(when.main, case.crate.main),
        _match_table(when.manifest, case.crate.manifest, MANIFEST),
        _match_table(when.config, case.crate.config, CONFIG),
        _match_either_table(when, case),
    ):
        if more is None:
            return None
        words |= more
    return {name: word if name in _TRUSTED_WORDS else _safe_in_markdown(word) for name, word in words.items()}


def _safe_in_markdown(word: str) -> str:
    """Return an untrusted word on one line, shortened, and safe between backticks in Markdown."""
    line = " ".join(word.replace("`", "'").split())
    return line if len(line) <= _LONGEST_WORD else line[: _LONGEST_WORD - 1] + "…"


def _common_words(case: Case) -> Words:
    words = {"command": case.lesson.commands[0], "typed": " ".join(case.seen.command.argv)}
    if case.target != HOST:
        words["target"] = case.target
    if case.lesson.target:
        words["expected"] = case.lesson.target
    return words


def _matches_command(when: Situation, case: Case) -> bool:
    words = case.seen.command.argv
    if not all(any(like(pattern, word) for word in words) for pattern in when.typed):
        return False
    if when.target and not any(like(pattern, case.target) for pattern in when.target):
        return False
    if when.own_target not in (None, case.is_own_target):
        return False
    return when.compilers is None or in_range(case.version, when.compilers)


def _match_errors(when: Situation, case: Case) -> Words | None:
    if when.errors is None:
        return {}
    if not when.errors:
        return None if case.seen.errors else {}
    named = [error for error in case.unexpected if error.error_class in when.errors]
    if not named or (when.only and len(named) < len(case.unexpected)):
        return None
    return _with_attribute(_place_of(named[0]), case)


def _match_texts(when: Situation, case: Case) -> Words | None:
    words: Words = {}
    if when.message:
        matches = (
            (error, named_groups(pattern, searched_text(error)))
            for pattern in when.message
            for error in case.unexpected
        )
        match = next(((error, names) for error, names in matches if names is not None), None)
        if match is None:
            return None
        words |= _with_attribute(_place_of(match[0]), case) | dict(match[1])
    if when.warning:
        warned = ((warning, named_groups(when.warning, searched_text(warning))) for warning in case.seen.warnings)
        first = next(((warning, names) for warning, names in warned if names is not None), None)
        if first is None:
            return None
        words |= _place_of(first[0]) | dict(first[1])
    if when.output:
        words |= named_groups(when.output, case.seen.text) or {}
    return words


def _place_of(error: Diagnostic) -> Words:
    """Return the words for an error's place and for the compiler's suggested replacement."""
    words = {"said": error.message.partition("\n")[0]}
    if error.error_class:
        words["class"] = error.error_class
    span = next((span for span in error.spans if span.primary), None)
    if span:
        words |= {"file": span.file, "line": str(span.line), "column": str(span.column)}
    meant = next((one.replacements[0].text for one in error.suggestions if len(one.replacements) == 1), "").strip()
    return words | {"meant": meant} if meant else words


def _with_attribute(words: Words, case: Case) -> Words:
    """Add the attribute in the line of the error."""
    source = case.crate.main
    if source is None or words.get("file") != MAIN:
        return words
    there = [mark.name for mark in source.marks if str(mark.line) == words["line"] and mark.name.startswith("#[")]
    return words | {"attribute": max(there, key=len)[2:-1]} if there else words


def _match_step(when: Situation, case: Case) -> Words | None:
    if when.step is None:
        return {}
    at = next((number for number, one in enumerate(case.steps) if one.slug == case.lesson.slug), 0)
    others = case.steps[at + 1 :] if when.step == "later" else case.steps[:at][::-1]
    step = next((one for one in others if reaches(one, case.version, case.seen)), None)
    return {"step": step.title, "number": str(step.number)} if step else None


def _match_lookalike(when: Situation, case: Case) -> Words | None:
    if when.lookalike is None:
        return {}
    one = case.crate.lookalike
    if when.lookalike != (one is not None):
        return None
    if one is None:
        return {}
    words = {"file": one.file, "line": str(one.line), "code": one.code, "character": one.name.lower()}
    return words | {"looks": one.meant}


def _match_source(when: SourceFacts | None, source: Source | None) -> Words | None:
    if when is None:
        return {}
    if source is None or not _has(when, source.marks):
        return None
    many = [mark for mark in source.marks if mark.count > 1]
    hidden = [_first(name, source.commented) for name in when.commented]
    if not all(_first(name, many) for name in when.twice) or not all(hidden):
        return None
    if when.blank not in (None, source.blank) or when.broken not in (None, source.syntax_line > 0):
        return None
    line = next((mark.line for mark in hidden if mark), 0) or _line(when, source.marks)
    used = (mark for mark in source.marks if any(like(name, mark.name) for name in when.any))
    places = ", ".join(f"{mark.name} (line {mark.line})" for mark in used)
    shown = _shown(when, source.marks)
    return _known_words({"file": MAIN if line else "", "line": line, "shown": shown, "places": places})


def _match_either_table(when: Situation, case: Case) -> Words | None:
    if when.toml is None:
        return {}
    found = (
        _match_table(when.toml, case.crate.manifest, MANIFEST),
        _match_table(when.toml, case.crate.config, CONFIG),
    )
    return next((words for words in found if words is not None), None)


def _match_table(when: TableFacts | None, table: Table | None, path: str) -> Words | None:
    if when is None:
        return {}
    if table is None or not _has(when, table.marks) or (when.fault is not None and table.fault not in when.fault):
        return None
    line = table.line or _line(when, table.marks)
    return _known_words({"file": path, "line": line, "text": table.text, "shown": _shown(when, table.marks)})


def _known_words(words: Mapping[str, str | int]) -> Words:
    return {name: str(word) for name, word in words.items() if word}


def _has(when: SourceFacts | TableFacts, marks: Sequence[Mark]) -> bool:
    return (
        all(_first(name, marks) for name in when.has)
        and (not when.any or any(_first(name, marks) for name in when.any))
        and not any(_first(name, marks) for name in when.lacks)
    )


def _first_named(when: SourceFacts | TableFacts, marks: Sequence[Mark]) -> Mark | None:
    names = (*when.has, *when.any, *(when.twice if isinstance(when, SourceFacts) else ()))
    return next((mark for mark in (_first(name, marks) for name in names) if mark), None)


def _line(when: SourceFacts | TableFacts, marks: Sequence[Mark]) -> int:
    mark = _first_named(when, marks)
    return mark.line if mark else 0


def _shown(when: SourceFacts | TableFacts, marks: Sequence[Mark]) -> str:
    mark = _first_named(when, marks)
    return mark.name if mark else ""


def _first(name: str, marks: Iterable[Mark]) -> Mark | None:
    return next((mark for mark in marks if like(name, mark.name)), None)


def like(pattern: str, name: str) -> bool:
    """Return True if the name is the pattern, in which ``*`` stands for any characters."""
    first, *rest = pattern.split("*")
    if not rest:
        return name == pattern
    if not name.startswith(first) or len(name) < len(first) + len(rest[-1]) or not name.endswith(rest[-1]):
        return False
    at, end = len(first), len(name) - len(rest[-1])
    for part in rest[:-1]:
        at = name.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
