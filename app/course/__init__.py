"""Courses as data: lessons, error classes, glossary and recordings, and how a run is judged by them."""

from app.course.lessons import Lesson, LessonError
from app.course.model import Course, Part, Post, is_course_id, load_course
from app.course.shelf import Shelf, load_shelf

__all__ = ["Course", "Lesson", "LessonError", "Part", "Post", "Shelf", "is_course_id", "load_course", "load_shelf"]
