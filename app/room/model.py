"""The data of a class: its state, its members, and what they tried."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

HERE_SECONDS = 90.0
"""A member whose page has been silent for longer is away."""


@dataclass(frozen=True)
class ClassState:
    """An open class. ``code`` is the code for joining, or empty; ``address`` is the learners' address.

    ``step`` is the key of the class's step, or empty; ``timer`` is the time at which an exercise ends; ``banner`` is a
    sentence for all; ``wall`` is the slide that the projector shows. ``closed``: nobody else may join.
    """

    opened: float
    name: str = ""
    code: str = ""
    address: str = ""
    step: str = ""
    timer: float | None = None
    banner: str = ""
    wall: str = "address"
    closed: bool = False

    @classmethod
    def of(cls, stored: Mapping[str, str]) -> "ClassState | None":
        """Return the state from its stored values, or None if no class is open."""
        if "opened" not in stored:
            return None
        texts = {key: stored[key] for key in ("name", "code", "address", "step", "banner", "wall") if key in stored}
        timer = float(stored["timer"]) if stored.get("timer") else None
        return cls(opened=float(stored["opened"]), timer=timer, closed=bool(stored.get("closed")), **texts)


@dataclass(frozen=True)
class Member:
    """A seat that joined the class. ``number`` names it to the instructor, who never sees the seat itself.

    ``lesson`` is the key of the step it is at since ``since``. ``hand`` is the time at which it raised its hand.
    ``asked`` is the time at which the learner asked for a link to their seat, ``moved`` and ``mover`` when and by whom
    such a link was last used.
    """

    number: int
    seat: str
    name: str
    joined: float
    seen: float
    lesson: str = ""
    since: float = 0.0
    hand: float | None = None
    asked: float | None = None
    moved: float | None = None
    mover: str = ""

    @property
    def label(self) -> str:
        """The name on the class map."""
        return self.name or f"Seat {self.number}"

    def is_here(self, now: float) -> bool:
        """Return True if the member's page was heard of lately."""
        return now - self.seen <= HERE_SECONDS


@dataclass(frozen=True)
class Tally:
    """The runs of one seat in one step. ``errors`` are the error classes of the last ones that missed, newest first.

    An entry of ``errors`` is None if the run missed the goal without an error that has a class.
    """

    missed: int = 0
    reached: float | None = None
    first: float = 0.0
    last: float = 0.0
    errors: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Words:
    """Something that an instructor sent to one learner: a hint, a sentence, or a snippet of code."""

    id: int
    seat: str
    lesson: str
    at: float
    kind: Literal["hint", "sentence", "snippet"]
    text: str


@dataclass(frozen=True)
class ShownRun:
    """A run that a learner shows to the instructor, until one of them closes it or ``until``."""

    id: int
    seat: str
    run: str
    lesson: str
    until: float


@dataclass(frozen=True)
class Records:
    """All that is known of a class at one moment. Tallies and opened hints are by seat and lesson."""

    members: tuple[Member, ...]
    tallies: Mapping[tuple[str, str], Tally] = field(default_factory=dict)
    opened: Mapping[tuple[str, str], int] = field(default_factory=dict)
    shown: tuple[ShownRun, ...] = ()
