"""The slides of the projector, and the order in which its keys turn them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

Kind = Literal["address", "step", "poll", "error"]


@dataclass(frozen=True)
class Slide:
    """A page of the projector: the address, or a step's progress, its poll, or one of its errors.

    The address has the step that the other slides are about, so that the keys find the way back to them.
    """

    kind: Kind
    step: str = ""
    error: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.kind, self.step, self.error) if part)

    @classmethod
    def of(cls, text: str) -> "Slide":
        """Return the slide of a stored text; the address for one that says nothing."""
        kind, step, error, *_ = [*text.split(" "), "", ""]
        return cls(cast("Kind", kind), step, error) if kind in get_args(Kind) else cls("address")


def slides(step: str, errors: Sequence[str], *, polled: bool) -> list[Slide]:
    """Return the slides about a step, in order; ``errors`` are the ids of its error classes, most common first."""
    found = [Slide("address", step)]
    if step:
        found.append(Slide("step", step))
        found += [Slide("poll", step)] if polled else []
        found += [Slide("error", step, error) for error in errors]
    return found


def turned(order: Sequence[Slide], current: Slide, by: int) -> Slide:
    """Return the slide before or after the current one; the ends meet."""
    if current.kind == "address":
        current = order[0]
    return order[(order.index(current) + by) % len(order)] if current in order else order[0]
