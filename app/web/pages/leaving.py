"""Export the crate as a zip or a script, and import the files of a link."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.course.lesson import Lesson
from app.web.handout import as_script, as_zip
from app.web.pages.common import Home, Seat, Step
from app.web.pages.form import clean, text, typed
from app.web.pages.versions import checked, replaced
from app.web.words import TOOK_LINK

router = APIRouter()


@router.post("/lessons/{slug}/zip")
async def zip_file(request: Request, home: Home, lesson: Step) -> Response:
    """Return the posted crate as a zip that builds with plain cargo."""
    form = await typed(request)
    content = as_zip(home.course_of(lesson), lesson, home.runs.crate(lesson, form.files), form.command)
    return _file(content, lesson, "zip", "application/zip")


@router.post("/lessons/{slug}/script")
async def script(request: Request, home: Home, lesson: Step) -> Response:
    """Return a shell script that creates the posted crate and runs the command."""
    form = await typed(request)
    content = as_script(home.course_of(lesson), lesson, home.runs.crate(lesson, form.files), form.command)
    return _file(content.encode(), lesson, "sh", "text/plain; charset=utf-8")


@router.post("/lessons/{slug}/take")
async def take(request: Request, home: Home, seat: Seat, lesson: Step) -> Response:
    """Replace the posted files by those of a link, and keep the posted ones as a version."""
    form, fields = await typed(request), await request.form()
    brought = {path: clean(text(fields, f"taken:{path}")) for path in lesson.editable if f"taken:{path}" in fields}
    return await replaced(request, home, seat, lesson, form, checked(home, lesson, brought), TOOK_LINK)


def _file(content: bytes, lesson: Lesson, ending: str, kind: str) -> Response:
    disposition = f'attachment; filename="{lesson.slug}.{ending}"'
    return Response(content, media_type=kind, headers={"content-disposition": disposition})
