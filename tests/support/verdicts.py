"""Events of which verdicts and advice are constructed in tests."""

from typing import Any

from app.course.advice import Case, advised
from app.progress import Try
from app.protocol.events import Advice, Artifact, Diagnostic, Finished, Verdict


def error(name: str | None, message: str = "boom") -> Diagnostic:
    return Diagnostic(level="error", code=None, message=message, rendered=message, error_class=name)


def ended(status: Any = "failed") -> Finished:
    return Finished(status=status, exit_code=None, seconds=0.1)


def binary(**changes: Any) -> Artifact:
    facts: dict[str, Any] = {"path": "target/x", "bytes": 1, "sha256": "0", "format": "ELF", "machine": "ARM"}
    facts |= {"entry": 8, "entry_symbol": "_start", "needed": (), "interpreter": None}
    return Artifact(**facts | changes)


def advise(case: Case) -> tuple[Advice, ...]:
    """Return the advice that a missed goal of the case gets."""
    return advised(case, Verdict(reached=False, checks=())).advice


async def untold(_seat: str, _one: Try, _run: str) -> None:
    """Hold no class: nobody is told of a run's outcome."""
