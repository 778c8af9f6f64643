"""A command on every compiler at once: posted as a run with the toolchain ``all``, shown side by side."""

import shlex
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import Response

from app.course.lessons import Lesson
from app.engine import NoSuchRunError
from app.protocol.command import CommandError, parse
from app.protocol.events import Event
from app.web.answers import Answer, Column, columns
from app.web.pages.common import Home, Seat, Step, by_htmx, following, page_answer, to
from app.web.pages.form import Typed, looked_at
from app.web.pages.where import where
from app.web.problem import ProblemError
from app.web.render import page
from app.web.sse import EventStream, frame
from app.web.state import Playground, event_id

router = APIRouter()

ALL = "all"
"""The toolchain's name in the form when all are meant."""

_SEPARATOR = "."
_MOST = 8
"""As many runs as one seat may have waiting."""
_CLOSE = "run-done"


@dataclass(frozen=True)
class CompilerComparison:
    """Runs of one command, the newest compiler first."""

    ids: str
    command: str
    columns: tuple[Column, ...]
    lesson: Lesson
    following: Lesson | None

    @property
    def reached(self) -> bool:
        """Return True if one of the runs has reached the goal."""
        return any(column.reached for column in self.columns)

    @property
    def live(self) -> bool:
        """Whether one of them still goes on."""
        return any(column.state != "done" for column in self.columns)

    @property
    def same(self) -> bool:
        """Whether all say the same."""
        return not self.live and not any(column.differs for column in self.columns)

    @property
    def summary(self) -> str:
        """Who agrees with whom about the kinds of error, in a sentence."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for column in self.columns:
            groups.setdefault(tuple(error.html for error in column.errors), []).append(f"Rust {column.toolchain}")
        if self.same:
            return f"All {len(self.columns)} compilers say the same."
        if len(groups) == 1:
            return f"All {len(self.columns)} compilers report the same; their words differ, as highlighted."
        agreeing = "; ".join(_agreement(names) for names in groups.values())
        return f"The compilers disagree: {agreeing}. Differences are highlighted."


def _agreement(names: list[str]) -> str:
    return f"{names[0]} differs" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} agree"


async def start(request: Request, home: Playground, seat: str, lesson: Lesson, form: Typed) -> tuple[str, ...]:
    """Queue the posted command once for each compiler that builds for its target; the ids of the runs.

    Each counts as a run of its own. Raises ``ProblemError``; then none of them goes on.
    """
    names = await _names(home, form.command)
    if looked_at(form) is not None:
        message = "This command looks at one binary; choose one compiler for it."
        raise ProblemError(422, "nothing-to-compare", message, "toolchain")
    for _ in names[1:]:
        request.state.charge()
    ids: list[str] = []
    base = form.base
    try:
        # The newest comes last: its run is the one that a reload finds.
        for name in reversed(names):
            parts = (lesson, form.files, form.command, name, None, seat)
            ids.append(await home.runs.submit(*parts, base=base, queue_owner=request.state.queue_owner))
            base = None
    except ProblemError:
        for run_id in ids:
            await home.engine.cancel(run_id)
        raise
    return tuple(reversed(ids))


async def _names(home: Playground, command: str) -> list[str]:
    try:
        target = parse(command).target
    except CommandError as error:
        raise ProblemError(422, "command-not-offered", str(error), "command") from error
    found = sorted(await home.inventory.toolchains(), key=lambda one: one.release, reverse=True)
    able = [one.name for one in found if one.can_build(target)]
    # A target that is set up on demand comes for one of them: all would end up with the same.
    able = able or [one.name for one in found][: 1 if await home.inventory.offers(target) else None]
    if not able:
        raise ProblemError(503, "no-toolchain", "No Rust toolchain is on this machine; playground setup brings one.")
    return able[:_MOST]


async def compare(home: Playground, lesson: Lesson, ids: tuple[str, ...], *, wait: bool = False) -> CompilerComparison:
    """The runs as they stand; with ``wait`` when all have ended."""
    if wait:
        for run_id in ids:
            async for _ in home.engine.events(run_id):
                pass
    status = [await home.engine.status(run_id) for run_id in ids]
    answers = [
        Answer(one.job.toolchain, one.state, await _log(home, one.id) if one.state == "done" else ()) for one in status
    ]
    async with home.drawing_lock(ids[0]):
        made = await home.draw(partial(columns, answers, home.course_of(lesson).diagnosis))
    return CompilerComparison(
        _SEPARATOR.join(ids), shlex.join(status[0].job.command.argv), made, lesson, following(home, lesson)
    )


async def _log(home: Playground, run_id: str) -> tuple[Event, ...]:
    return tuple([event async for event in home.engine.events(run_id)])


async def _compared(ids: str, home: Home, seat: Seat, lesson: Step) -> tuple[str, ...]:
    """The runs of an address, when this seat may see them and they are of this lesson."""
    names = tuple(dict.fromkeys(ids.split(_SEPARATOR)[:_MOST]))
    for run_id in names:
        job = (await home.runs.owned(run_id, seat)).job
        if (job.course, job.lesson) != (lesson.course, lesson.slug):
            raise ProblemError(404, "no-such-run", "There is no such run of this lesson; run again.")
    return names


Compared = Annotated[tuple[str, ...], Depends(_compared)]


@router.get("/lessons/{slug}/comparisons/{ids}")
async def show(request: Request, home: Home, seat: Seat, lesson: Step, runs: Compared) -> Response:
    """The comparison on a page of its own, where there is room for the columns."""
    here = where(home.course_of(lesson), await home.progress.reached(seat), lesson)
    comparison = await compare(home, lesson, runs)
    return await page_answer(request, "comparison.html", lesson=lesson, where=here, comparison=comparison)


async def _open(request: Request, home: Home, runs: Compared) -> AsyncIterator[None]:
    with home.streams.open(runs[0], request.state.caller):
        yield


@router.get("/lessons/{slug}/comparisons/{ids}/events", dependencies=[Depends(_open)])
async def events(home: Home, lesson: Step, runs: Compared, last_event_id: Annotated[str, Header()] = "") -> EventStream:
    """The columns anew each time a compiler has ended, then ``run-done``."""
    return EventStream(_frames(home, lesson, runs, event_id(last_event_id)))


async def _frames(home: Playground, lesson: Lesson, ids: tuple[str, ...], seen: int) -> AsyncIterator[bytes]:
    with suppress(NoSuchRunError):  # dropped: the page keeps what it has
        async for one in _drawings(home, lesson, ids, seen):
            yield one
    yield frame("", event=_CLOSE)


async def _drawings(home: Playground, lesson: Lesson, ids: tuple[str, ...], seen: int) -> AsyncIterator[bytes]:
    # One after the other: they end about in the order in which they were queued, the oldest compiler first.
    for number, run_id in enumerate(reversed(ids), 1):
        async for _ in home.engine.events(run_id):
            pass
        # Those that have ended together are drawn together: each drawing is of all the columns.
        more = number < len(ids) and (await home.engine.status(ids[-number - 1])).state == "done"
        if number > seen and not more:
            yield frame(page("_compared.html", root=home.root, comparison=await compare(home, lesson, ids)), number)


@router.post("/lessons/{slug}/comparisons/{ids}/cancel")
async def cancel(request: Request, home: Home, lesson: Step, runs: Compared) -> Response:
    """End what still goes on."""
    for run_id in runs:
        await home.engine.cancel(run_id)
    return Response(status_code=204) if by_htmx(request) else to(home, lesson)
