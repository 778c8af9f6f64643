"""Run a command on every compiler at once (a run posted with the toolchain ``all``) and show the answers together."""

import shlex
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import Response

from app.course.lesson import Lesson
from app.engine import NoSuchRunError
from app.protocol.command import CommandError, parse
from app.protocol.events import Event
from app.web.answers import Answer, Column, columns
from app.web.pages.common import Home, Seat, Step, by_htmx, following, page_answer, to
from app.web.pages.form import Typed, looked_at
from app.web.pages.where import where
from app.web.problem import ProblemError, command_not_offered, no_such_run_of_lesson, nothing_to_compare
from app.web.render import page
from app.web.sse import EventStream, frame
from app.web.state import Playground, event_id

router = APIRouter()

ALL = "all"
"""The toolchain's name in the form that selects all of them."""

_SEPARATOR = "."
_MOST = 8
"""The number of runs that one seat may have waiting."""
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
        """True if one of the runs has not ended."""
        return any(column.state != "done" for column in self.columns)

    @property
    def same(self) -> bool:
        """True if all runs have ended with the same answer."""
        return not self.live and not any(column.differs for column in self.columns)

    @property
    def summary(self) -> str:
        """Who agrees with whom about the kinds of error, in a sentence."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for column in self.columns:
            groups.setdefault(tuple(error.html for error in column.errors), []).append(f"Rust {column.compiler}")
        if self.same:
            return f"All {len(self.columns)} compilers say the same."
        if len(groups) == 1:
            return f"All {len(self.columns)} compilers report the same; their words differ, as highlighted."
        agreeing = "; ".join(_agreement(names) for names in groups.values())
        return f"The compilers disagree: {agreeing}. Differences are highlighted."


def _agreement(names: list[str]) -> str:
    return f"{names[0]} differs" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} agree"


async def start(request: Request, home: Playground, seat: str, lesson: Lesson, form: Typed) -> tuple[str, ...]:
    """Queue the posted command once for each compiler that can build for its target; return the runs' ids.

    The rates count each run. Raises ``ProblemError`` and then cancels the runs that are already queued.
    """
    names = await _names(home, form.command)
    if looked_at(form) is not None:
        raise nothing_to_compare()
    for _ in names[1:]:
        request.state.charge()
    ids: list[str] = []
    base = form.base
    try:
        # The newest comes last, because a reload shows the last run.
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
        raise command_not_offered(str(error)) from error
    found = sorted(await home.inventory.toolchains(), key=lambda one: one.release, reverse=True)
    able = [one.name for one in found if one.can_build(target)]
    # Set-up on demand provides a target for one compiler only, so only one run waits for it.
    able = able or [one.name for one in found][: 1 if await home.inventory.offers(target) else None]
    if not able:
        raise await home.choice.nothing_here()
    return able[:_MOST]


async def compare(home: Playground, lesson: Lesson, ids: tuple[str, ...], *, wait: bool = False) -> CompilerComparison:
    """Return the comparison as it stands or, with ``wait``, when all runs have ended."""
    if wait:
        for run_id in ids:
            async for _ in home.engine.events(run_id):
                pass
    status = [await home.engine.status(run_id) for run_id in ids]
    titles = {one.name: one.title for one in await home.inventory.toolchains()}
    answers: list[Answer] = []
    for one in status:
        log: list[Event] = []
        if one.state == "done":
            log = [event async for event in home.engine.events(one.id)]
        answers.append(Answer(titles.get(one.job.toolchain, one.job.toolchain), one.state, log))
    async with home.drawing_lock(ids[0]):
        made = await home.draw(partial(columns, answers, home.course_of(lesson).diagnosis))
    return CompilerComparison(
        _SEPARATOR.join(ids), shlex.join(status[0].job.command.argv), made, lesson, following(home, lesson)
    )


async def _compared(ids: str, home: Home, seat: Seat, lesson: Step) -> tuple[str, ...]:
    """Return the runs of an address, if they are this lesson's and this seat may see them."""
    names = tuple(dict.fromkeys(ids.split(_SEPARATOR)[:_MOST]))
    for run_id in names:
        job = (await home.runs.owned(run_id, seat)).job
        if (job.course, job.lesson) != (lesson.course, lesson.slug):
            raise no_such_run_of_lesson()
    return names


Compared = Annotated[tuple[str, ...], Depends(_compared)]


@router.get("/lessons/{slug}/comparisons/{ids}")
async def show(request: Request, home: Home, seat: Seat, lesson: Step, runs: Compared) -> Response:
    """Show the comparison on a separate page, which has room for the columns."""
    here = where(home.course_of(lesson), await home.progress.reached(seat), lesson)
    comparison = await compare(home, lesson, runs)
    return await page_answer(request, "comparison.html", lesson=lesson, where=here, comparison=comparison)


async def _open(request: Request, home: Home, runs: Compared) -> AsyncIterator[None]:
    with home.streams.open(runs[0], request.state.caller):
        yield


@router.get("/lessons/{slug}/comparisons/{ids}/events", dependencies=[Depends(_open)])
async def events(home: Home, lesson: Step, runs: Compared, last_event_id: Annotated[str, Header()] = "") -> EventStream:
    """Stream all columns again each time a run ends, then ``run-done``."""
    return EventStream(_frames(home, lesson, runs, event_id(last_event_id)))


async def _frames(home: Playground, lesson: Lesson, ids: tuple[str, ...], seen: int) -> AsyncIterator[bytes]:
    with suppress(NoSuchRunError):  # a run was dropped: the page keeps what it shows
        # The runs end about in the order in which they were queued, the oldest compiler first.
        for number, run_id in enumerate(reversed(ids), 1):
            async for _ in home.engine.events(run_id):
                pass
            # If the next run has ended too, render both together, because each frame contains all columns.
            more = number < len(ids) and (await home.engine.status(ids[-number - 1])).state == "done"
            if number > seen and not more:
                yield frame(page("_compared.html", root=home.root, comparison=await compare(home, lesson, ids)), number)
    yield frame("", event=_CLOSE)


@router.post("/lessons/{slug}/comparisons/{ids}/cancel")
async def cancel(request: Request, home: Home, lesson: Step, runs: Compared) -> Response:
    """Cancel the runs that have not ended."""
    for run_id in runs:
        await home.engine.cancel(run_id)
    return Response(status_code=204) if by_htmx(request) else to(home, lesson)
