"""Serve the classroom: a strip and a page for learners, and for instructors the class, one step of it, and the wall."""

from fastapi import APIRouter

from app.web.pages.room import instructor, learner, links, member, step, wall
from app.web.pages.room.learner import lessons

__all__ = ["lessons", "router"]

router = APIRouter()
for one in (learner.router, links.router, instructor.router, step.router, member.router, wall.router):
    router.include_router(one)
