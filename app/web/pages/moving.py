"""Export a learner's progress as a file, and import such a file, also from another playground."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from app.course import Lesson
from app.progress.folder import has_room
from app.progress.portable import PortableLesson, PortablePrediction, PortableProgress, PortableReached
from app.web.pages.common import Home, Seat
from app.web.problem import no_cookie, no_room, not_progress
from app.web.state import Playground
from app.web.words import IMPORTED_PROGRESS

router = APIRouter()


@router.get("/export")
async def export(home: Home, seat: Seat) -> Response:
    """Return the seat's progress in every lesson as a JSON file."""
    toolchains = await home.progress.reached_with(seat)
    lessons = {lesson.key: await _export(home, seat, lesson, toolchains) for lesson in home.shelf.lessons}
    document = PortableProgress(lessons={key: one for key, one in lessons.items() if one != PortableLesson()})
    headers = {"content-disposition": f'attachment; filename="playground-progress-{datetime.now(UTC):%Y-%m-%d}.json"'}
    return Response(document.model_dump_json(indent=1, exclude_none=True), 200, headers, "application/json")


@router.post("/import")
async def take_over(request: Request, home: Home, seat: Seat) -> Response:
    """Add the progress of a file to the seat's own; texts that it replaces are kept as versions."""
    document = await _document(request)
    if not request.state.seat_known:
        raise no_cookie()
    if not has_room(home.settings.data_dir):
        raise no_room()
    known = [(lesson, document.lessons[lesson.key]) for lesson in home.shelf.lessons if lesson.key in document.lessons]
    # Everything is checked before anything is stored.
    texts = {lesson.key: _texts(home, lesson, one) for lesson, one in known}
    for lesson, one in known:
        await _take_over(home, seat, lesson, one, texts[lesson.key])
    return RedirectResponse(f"{home.root}/?imported={len(known)}", status_code=303)


async def _document(request: Request) -> PortableProgress:
    async with request.form(max_files=1, max_fields=2) as form:
        file = form.get("progress")
        content = await file.read() if isinstance(file, UploadFile) else b""
    try:
        return PortableProgress.model_validate_json(content)
    except ValidationError:
        raise not_progress() from None


async def _export(
    home: Playground, seat: str, lesson: Lesson, reached: dict[str, tuple[datetime, str]]
) -> PortableLesson:
    predicted = await home.progress.guides.predicted(seat, lesson.key)
    done = reached.get(lesson.key)
    return PortableLesson(
        files=await home.progress.files(seat, lesson.key),
        reached=PortableReached(at=done[0], toolchain=done[1]) if done else None,
        opened=await home.progress.guides.opened(seat, lesson.key),
        prediction=PortablePrediction(
            choice=predicted.choice, happened=predicted.happened, toolchain=predicted.toolchain
        )
        if predicted
        else None,
    )


def _texts(home: Playground, lesson: Lesson, one: PortableLesson) -> dict[str, str]:
    """Return the texts that this playground's lesson lets a learner edit; raises ``ProblemError`` 422."""
    files = {path: text for path, text in one.files.items() if path in lesson.editable}
    home.runs.crate(lesson, files)
    return files


async def _take_over(home: Playground, seat: str, lesson: Lesson, one: PortableLesson, files: dict[str, str]) -> None:
    own = {**lesson.editable_files, **await home.progress.files(seat, lesson.key)}
    if files and {**own, **files} != own:
        if own != lesson.editable_files:
            await home.progress.versions.keep(seat, lesson.key, own, IMPORTED_PROGRESS)
        await home.progress.save(seat, lesson.key, files)
    if one.reached:
        await home.progress.mark(seat, lesson.key, one.reached.toolchain, one.reached.at)
    if one.opened:
        await home.progress.guides.open(seat, lesson.key, min(one.opened, len(lesson.hints) + 1))
    options = {option.id for option in lesson.prediction.option} if lesson.prediction else set()
    said = one.prediction
    if said and said.choice in options and await home.progress.guides.predicted(seat, lesson.key) is None:
        await home.progress.guides.predict(seat, lesson.key, said.choice)
        if said.happened in options and said.toolchain:
            await home.progress.guides.turned_out(seat, lesson.key, said.happened, said.toolchain)
