"""Show the set-up of a lesson's targets, which the page polls until it has ended."""

from collections.abc import Mapping

from fastapi import APIRouter
from fastapi.responses import Response

from app.course.lesson import Lesson
from app.toolchain import default_toolchain, missing
from app.web.pages.common import Home, Step, fragment, in_turn
from app.web.state import Playground

router = APIRouter()


@router.get("/lessons/{slug}/targets", dependencies=[in_turn])
async def progress(home: Home, lesson: Step) -> Response:
    """Return the progress of the set-up and, once it has ended, the toolchains that can now be chosen."""
    return fragment(home, "_targets.html", lesson=lesson, swapped=True, **await targets_of(home, lesson))


async def targets_of(home: Playground, lesson: Lesson) -> Mapping[str, object]:
    """Request the lesson's missing targets, and return the page's context about all of its targets."""
    toolchains = await home.inventory.toolchains(lesson.targets)
    await home.inventory.want(lesson.targets)
    target_statuses = await home.inventory.target_statuses(lesson.targets)
    lost = any(one.state == "failed" for one in target_statuses) or bool(missing(toolchains, (None,)))
    best = default_toolchain(toolchains, lesson)
    return {
        "targets": [one for one in target_statuses if one.state != "ready"],
        "toolchains": toolchains,
        "best": best.name if best else None,
        "doctor": await home.inventory.examine(lesson.name, lesson.targets) if lost else None,
    }
