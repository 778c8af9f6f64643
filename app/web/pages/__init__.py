"""Serve the pages: course map, lessons, and runs as HTML. Each page works with plain form posts.

htmx requests the same addresses and gets fragments. A posted run answers with its panel, which follows
``/runs/{id}/events``, a stream of HTML with the ids of the events it shows.
"""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from app.web.pages import (
    artifact,
    compare,
    course,
    explain,
    finish,
    guidance,
    leaving,
    lesson,
    room,
    runs,
    step,
    targets,
    versions,
)
from app.web.pages.addresses import leading_back
from app.web.pages.common import problem_page

__all__ = ["problem_page", "router"]

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)
for one in (course.router, runs.runs, artifact.router, explain.router, step.router, room.router):
    router.include_router(one)
for prefix in ("", "/courses/{course}"):
    # Addresses without a prefix belong to the default course.
    router.include_router(course.courses, prefix=prefix)
    for topic in (lesson, finish, guidance, versions, leaving, targets, runs, compare):
        router.include_router(topic.router, prefix=prefix)
        router.include_router(leading_back(topic.router.routes), prefix=prefix)
    router.include_router(room.lessons, prefix=prefix)
    router.include_router(leading_back(room.lessons.routes), prefix=prefix)
