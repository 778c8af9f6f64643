"""Courses as data: lessons, error classes, glossary and recordings, and how a run is judged by them."""

from app.course.files import CourseError
from app.course.lesson import Lesson
from app.course.loading import is_course_id, load_course
from app.course.model import Course, Part, Post
from app.course.shelf import Shelf, load_shelf

__all__ = ["Course", "CourseError", "Lesson", "Part", "Post", "Shelf", "is_course_id", "load_course", "load_shelf"]
