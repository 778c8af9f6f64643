"""The pages: course map and lessons, and a run as HTML. Each works by plain form posts.

htmx asks for the same things and gets fragments: a posted run answers with its panel, which follows
``/runs/{id}/events``, a stream of HTML with the ids of the events it shows.
"""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from app.web.pages import artifact, compare, course, explain, guidance, leaving, lesson, runs, step, targets, versions
from app.web.pages.addresses import leading_back
from app.web.pages.common import problem_page

__all__ = ["problem_page", "router"]

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)
for topic in (course, lesson, guidance, versions, leaving, targets, runs, compare, artifact, explain, step):
    router.include_router(topic.router)
    router.include_router(leading_back(topic.router.routes))
