"""Replace the learner's text other than by typing, and undo such replacements."""

from collections.abc import Mapping
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.course.lesson import Lesson
from app.protocol.events import Edit
from app.web.diff import FileDiff, apply, compare_files
from app.web.pages.common import Home, Seat, Step, by_htmx, fragment, playground_of, seat_of, to
from app.web.pages.form import Typed, text, typed
from app.web.pages.guide import difference, guide_of
from app.web.pages.lesson import Changes, again
from app.web.problem import no_such_block, no_such_edit, no_such_offer
from app.web.prose import snippet
from app.web.snippets import home_of, inserted
from app.web.state import Playground
from app.web.words import ACCEPTED_EDIT, APPLIED_SOLUTION, CARRIED, INSERTED, RESET, TOOK_OFFER

router = APIRouter()


@router.post("/lessons/{slug}/reset")
async def reset(request: Request, home: Home, seat: Seat, lesson: Step) -> Response:
    """Restore the lesson's own files, and keep the learner's as a version."""
    form = await typed(request)
    before = {**await home.progress.files(seat, lesson.key), **checked(home, lesson, form.files)}
    own = lesson.editable_files
    if {**own, **before} != own:
        await home.progress.versions.keep(seat, lesson.key, {**own, **before}, RESET)
    await home.progress.reset(seat, lesson.key)
    return to(home, lesson, form) if not by_htmx(request) else await given(request, lesson, form, own)


@router.post("/lessons/{slug}/carry")
async def carry(request: Request, home: Home, seat: Seat, lesson: Step) -> Response:
    """Copy the learner's files of another lesson, as far as they are editable in this one."""
    origin = home.lesson(text(await request.form(), "from"))
    carried = await home.progress.files(seat, origin.key)
    brought = {path: carried[path] for path in lesson.editable if path in carried}
    own = lesson.editable_files
    before = {**own, **await home.progress.files(seat, lesson.key)}
    if before not in (own, {**before, **brought}):
        await home.progress.versions.keep(seat, lesson.key, before, CARRIED)
    await home.progress.save(seat, lesson.key, brought)
    await home.progress.versions.note(seat, lesson.key, "given", {**before, **brought})
    return to(home, lesson)


@router.post("/lessons/{slug}/offer")
async def offer(request: Request, home: Home, seat: Seat, lesson: Step) -> Response:
    """Replace the posted files by files that the text offers, and keep the posted ones as a version."""
    form = await typed(request)
    offered = lesson.offers.get(form.choice or "")
    if offered is None:
        raise no_such_offer()
    return await replaced(request, home, seat, lesson, form, offered, TOOK_OFFER)


@router.post("/lessons/{slug}/accept")
async def accept(request: Request, home: Home, seat: Seat, lesson: Step) -> Response:
    """Replace the posted files by those that a run's tool wrote; keep the posted ones as a version."""
    form = await typed(request)
    run_id = form.choice or ""
    status = await home.runs.owned(run_id, seat, field="choice")
    offered: dict[str, str] = {}
    if status.state == "done" and (status.job.course, status.job.lesson) == (lesson.course, lesson.slug):
        async for event in home.engine.events(run_id):
            if isinstance(event, Edit) and event.path in lesson.editable:
                offered[event.path] = event.text
    if not offered:
        raise no_such_edit()
    return await replaced(request, home, seat, lesson, form, offered, ACCEPTED_EDIT)


@router.post("/lessons/{slug}/insert")
async def insert(request: Request, home: Home, seat: Seat, lesson: Step) -> Response:
    """Insert a code block of the text into the posted files, and keep those as a version."""
    form = await typed(request)
    wanted = form.choice or ""
    code = snippet(lesson, int(wanted)) if wanted.isascii() and wanted.isdigit() and len(wanted) < 4 else None
    if code is None or home_of(lesson, code) is None:
        raise no_such_block()
    now = inserted(lesson, code, {**lesson.editable_files, **checked(home, lesson, form.files)})
    return await replaced(request, home, seat, lesson, form, now, INSERTED)


@router.post("/lessons/{slug}/undo")
async def undo(request: Request, home: Home, seat: Seat, lesson: Step) -> Response:
    """Undo the latest replacement; redo restores it."""
    return await _turn(request, home, seat, lesson, "undo")


@router.post("/lessons/{slug}/redo")
async def redo(request: Request, home: Home, seat: Seat, lesson: Step) -> Response:
    """Redo what was undone last."""
    return await _turn(request, home, seat, lesson, "redo")


@router.post("/lessons/{slug}/apply")
async def apply_solution(request: Request, home: Home, seat: Seat, lesson: Step) -> Response:
    """Apply one hunk of the solution to the posted files or, with ``all``, the whole solution."""
    form = await typed(request)
    files = checked(home, lesson, form.files)
    diffs = difference(lesson, files)
    changed = _applied(lesson, {**lesson.files, **files}, diffs, form.choice or "all")
    if changed:
        now = {**files, **changed}
        own = {path: {**lesson.files, **files}[path] for path in lesson.editable}
        await home.progress.versions.keep(seat, lesson.key, own, APPLIED_SOLUTION)
        await home.progress.save(seat, lesson.key, now)
        files = now
    return await given(request, lesson, form, files)


@router.post("/lessons/{slug}/changes")
async def changes(request: Request, home: Home, seat: Seat, lesson: Step) -> Response:
    """Show the posted files' changes since the last run."""
    form = await typed(request)
    files = checked(home, lesson, form.files)
    ran = await home.progress.versions.noted(seat, lesson.key, "ran")
    diffs = None if ran is None else compare_files(ran, {**ran, **files})
    if by_htmx(request):
        return fragment(home, "_changes.html", changes=diffs, lesson=lesson)
    return await again(request, lesson, form, Changes(diffs))


def _applied(lesson: Lesson, crate: Mapping[str, str], diffs: tuple[FileDiff, ...], wanted: str) -> Mapping[str, str]:
    """Return the texts changed by the hunk of this name, or by all hunks; none if there is no such hunk."""
    if wanted == "all":
        return {diff.path: lesson.solution[diff.path] for diff in diffs}
    path, _, name = wanted.rpartition(":")
    hunks = (hunk for diff in diffs if diff.path == path for hunk in diff.hunks if hunk.id == name)
    hunk = next(hunks, None)
    return {path: apply(crate[path], hunk)} if hunk else {}


async def _turn(
    request: Request, home: Playground, seat: str, lesson: Lesson, side: Literal["undo", "redo"]
) -> Response:
    form = await typed(request)
    own = lesson.editable_files
    current = {**own, **checked(home, lesson, form.files)}
    turned = await home.progress.versions.turn(seat, lesson.key, side, current)
    if not turned and not by_htmx(request):
        return to(home, lesson, form)  # a second click, which must not change the restored text
    files = await home.progress.files(seat, lesson.key) if turned else current
    return await given(request, lesson, form, {**own, **files})


async def replaced(
    request: Request, home: Playground, seat: str, lesson: Lesson, form: Typed, files: Mapping[str, str], reason: str
) -> Response:
    """Put the files in the place of the posted ones, which are kept as a version with the reason; answer with them."""
    before = {**lesson.editable_files, **checked(home, lesson, form.files)}
    now = {**before, **files}
    if now != before:
        await home.progress.versions.keep(seat, lesson.key, before, reason)
        await home.progress.save(seat, lesson.key, now)
    return await given(request, lesson, form, now)


async def given(request: Request, lesson: Lesson, form: Typed, files: Mapping[str, str]) -> Response:
    """Return the page's changes with these files for htmx; else store them and redirect, so a reload is harmless."""
    home, seat = playground_of(request), seat_of(request)
    if not by_htmx(request):
        await home.progress.save(seat, lesson.key, files)
        return to(home, lesson, form)
    guide = await guide_of(home, seat, lesson, files)
    return fragment(home, "_given.html", lesson=lesson, files=files, guide=guide)


def checked(home: Playground, lesson: Lesson, files: Mapping[str, str]) -> Mapping[str, str]:
    """Return the posted files if they may be stored; raises ``ProblemError``."""
    home.runs.crate(lesson, files)
    return files
