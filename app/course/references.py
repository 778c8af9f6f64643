"""References from lessons and advice to error classes."""

from collections.abc import Iterable, Iterator

from app.course.diagnosis import Diagnosis
from app.course.facts import RunFacts
from app.course.lesson import Lesson


def unknown_class(lesson: Lesson, diagnosis: Diagnosis) -> str | None:
    """Return a sentence on the first error class that the lesson names and ``errors.toml`` lacks, or None."""
    return _first_unknown(_named_in(lesson), diagnosis)


def unknown_advised(diagnosis: Diagnosis) -> str | None:
    """Return the same for the advice in ``errors.toml`` itself."""
    return _first_unknown((("advice.when.errors", advice.when) for advice in diagnosis.advice), diagnosis)


def _first_unknown(named: Iterable[tuple[str, RunFacts]], diagnosis: Diagnosis) -> str | None:
    known = {error.id for error in diagnosis.classes}
    wrong = ((key, name) for key, outcome in named for name in outcome.errors or () if name not in known)
    return next((f"{key}: there is no error class {name!r}" for key, name in wrong), None)


def _named_in(lesson: Lesson) -> Iterator[tuple[str, RunFacts]]:
    for advice in lesson.advice:
        yield "advice.when.errors", advice.when
    options = lesson.prediction.option if lesson.prediction else ()
    for detour in lesson.detours:
        yield "detour.errors", detour
    for key, specs in (("check", lesson.checks), ("expect", lesson.expectations), ("predict.option", options)):
        for spec in specs:
            yield f"{key}.errors", spec
            yield from ((f"{key}.on.errors", other) for other in spec.on.values())
