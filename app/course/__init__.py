"""A course is data: everything that is taught, and how a run is judged by it."""

from app.course.lessons import Lesson, LessonError
from app.course.model import Course, Part, Post, is_course_id, load_course
from app.course.shelf import Shelf, load_shelf

__all__ = ["Course", "Lesson", "LessonError", "Part", "Post", "Shelf", "is_course_id", "load_course", "load_shelf"]
