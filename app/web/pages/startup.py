"""Prepare the meter of a lesson: the size of the learner's binary, and what still runs before the learner's code."""

from dataclasses import dataclass

from app.course.lesson import Lesson
from app.course.startup import LINKS, Startup, from_texts, latest
from app.web.render import Patch, made, page
from app.web.state import Playground
from app.web.words import STARTUP_LINKS, chain_in_words

_WIDTH = 100
"""The width of a whole bar, in units of the drawing."""
_LEAST = 2
"""The least visible width."""


@dataclass(frozen=True)
class LinkState:
    """A link by its name and its meaning; ``here``: it still runs before the learner's code."""

    name: str
    means: str
    here: bool


@dataclass(frozen=True)
class Meter:
    """The chain before the learner's code. ``largest`` is the size of the learner's largest binary in the course.

    ``sizes`` has the binary of each lesson that has one, in course order.
    """

    startup: Startup
    links: tuple[LinkState, ...]
    sizes: tuple[tuple[Lesson, int], ...]
    words: str

    @property
    def width(self) -> float:
        """The size of the latest binary in hundredths of the largest; 0 without a binary."""
        if not self.startup.built or self.startup.bytes is None:
            return 0
        largest = max((size for _, size in self.sizes), default=self.startup.bytes)
        return round(max(_WIDTH * self.startup.bytes / max(largest, 1), _LEAST), 1)


async def meter_of(home: Playground, seat: str, lesson: Lesson) -> Meter | None:
    """Return the meter, or None before the first build."""
    notes = await home.progress.versions.noted_in_all(seat, "startup")
    course = home.course_of(lesson)
    startup = latest(notes, [one.key for one in course.up_to(lesson)])
    if startup is None:
        return None
    known = ((one, from_texts(notes[one.key])) for one in course.lessons if one.key in notes)
    return Meter(
        startup,
        tuple(LinkState(*STARTUP_LINKS[link], here=link in startup.links) for link in LINKS),
        tuple((one, each.bytes) for one, each in known if each.built and each.bytes is not None),
        chain_in_words(startup),
    )


async def meter_patch(home: Playground, seat: str, lesson: Lesson) -> Patch:
    """Return a patch with the meter's current state."""
    html = page("_startup.html", root=home.root, meter=await meter_of(home, seat, lesson))
    return Patch("startup", made(html), append=False)
