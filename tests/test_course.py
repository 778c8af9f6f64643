"""Loading courses and shelves from folders; an error names the file and the key."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.course import Course, CourseError, load_course, load_shelf
from tests.support.courses import course_toml


@pytest.fixture
def folder(tmp_path: Path, taught: Course) -> Path:
    """A folder of courses that holds one course with one lesson."""
    copy = tmp_path / "courses" / "one"
    shutil.copytree(taught.folder / "04-panic-handler", copy / "04-panic-handler")
    shutil.copy(taught.folder / "errors.toml", copy)
    (copy / "course.toml").write_text(course_toml("04-panic-handler"))
    return copy


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def edit(old: str, new: str) -> Callable[[Path], None]:
    return lambda folder: replaced(folder / "course.toml", old, new)


def test_a_course_has_everything_that_is_taught(taught: Course) -> None:
    assert taught.id == "freestanding-rust-binary"
    assert [(part.title, part.beyond, len(part.lessons)) for part in taught.parts] == [
        ("The post\N{RIGHT SINGLE QUOTATION MARK}s steps", False, 16),
        ("Beyond the post", True, 10),
    ]
    lesson = taught.lesson("entry-point")
    assert lesson
    assert (lesson.number, lesson.course) == (8, taught.id)
    assert taught.lesson("no-such-lesson") is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (edit("crate", "kreate"), "course.toml: crate: Field required; kreate: Extra inputs"),
        (edit("author", "writer"), "course.toml: post.author: Field required"),
        (edit("['04-panic-handler']", "[]"), "course.toml: part.0.lessons: Tuple should have at least 1 item"),
        (edit("[[part]]", "[[party]]"), "course.toml: part: Field required"),
        (edit("04-panic", "05-panic"), "course.toml: part.lessons: there is no folder '05-panic-handler'"),
        (
            edit('"Panic Implementation"', '"Panicking"'),
            "04-panic-handler/lesson.toml: section: post.sections in course.toml has no 'Panic Implementation'",
        ),
        (
            lambda folder: replaced(folder / "04-panic-handler/lesson.toml", 'errors = ["panic', 'errors = ["spanic'),
            "04-panic-handler/lesson.toml: predict.option.errors: there is no error class 'spanic",
        ),
        (
            lambda folder: (folder / "errors.toml").write_text(
                (folder / "errors.toml").read_text()
                + '[[advice]]\nid = "a"\ntitle = "t"\nhelps = "t"\nwhen.errors = ["nothing"]\n'
            ),
            "errors.toml: advice.when.errors: there is no error class 'nothing'",
        ),
        (
            lambda folder: replaced(
                folder / "04-panic-handler/lesson.toml", "edit = ", 'side_trip_of = "no-std"\nedit = '
            ),
            "04-panic-handler/lesson.toml: side_trip_of: no lesson before it is 'no-std'",
        ),
        (lambda folder: (folder / "course.toml").unlink(), "course.toml: cannot be read"),
        (lambda folder: (folder / "errors.toml").unlink(), "errors.toml: cannot be read"),
        (lambda folder: (folder / "04-panic-handler/text.md").unlink(), "04-panic-handler/text.md: cannot be read"),
    ],
)
def test_what_is_wrong_is_one_sentence_with_file_and_key(
    folder: Path, change: Callable[[Path], None], says: str
) -> None:
    assert load_course(folder).lesson("panic-handler")
    change(folder)
    for load in (load_course, load_shelf):
        with pytest.raises(CourseError) as refused:
            load(folder)
        assert str(refused.value).startswith(f"{folder}/{says}")
        assert "\n" not in str(refused.value)


def test_a_lesson_without_commands_offers_the_one_of_the_course(folder: Path) -> None:
    lesson = folder / "04-panic-handler" / "lesson.toml"
    text = lesson.read_text()
    begin = text.index("commands = [")
    end = text.index("]", begin) + 1
    lesson.write_text(text[:begin] + text[end:])
    replaced(folder / "course.toml", "[post]\n", 'command = "cargo check"\n[post]\n')
    found = load_course(folder).lesson("panic-handler")
    assert found is not None
    assert found.commands == ("cargo check",)


def test_the_digest_is_of_what_is_taught_and_of_nothing_beside(folder: Path) -> None:
    first = load_course(folder).digest
    assert len(bytes.fromhex(first)) == 32
    (folder / "notes.txt").write_text("not taught")
    assert load_course(folder).digest == first
    assert load_course(shutil.copytree(folder, folder.parent / "two")).digest == first, "wherever it lies"
    text = folder / "04-panic-handler" / "text.md"
    text.write_text(text.read_text() + "\n")
    changed = load_course(folder).digest
    assert changed != first
    (folder / "04-panic-handler" / "start" / "more.rs").write_text("")
    assert load_course(folder).digest not in (first, changed)


def test_the_first_course_by_name_is_the_default_unless_another_is_named(folder: Path) -> None:
    courses = folder.parent
    shutil.copytree(folder, courses / "a-second")
    shelf = load_shelf(courses)
    assert [course.id for course in shelf.courses] == ["a-second", "one"]
    named = load_shelf(courses, "one")
    assert [course.id for course in named.courses] == ["one", "a-second"]
    for name, course in {"panic-handler": "one", "a-second/panic-handler": "a-second"}.items():
        lesson = named.find(name)
        assert lesson
        assert named.course_of(lesson).id == course
    assert named.find("two/panic-handler") is None
    assert named.find("one/two") is None
    with pytest.raises(CourseError, match="no course 'three', which PLAYGROUND_COURSE names; there is a-second, one"):
        load_shelf(courses, "three")


def test_the_sound_courses_are_taught_beside_a_broken_one(folder: Path) -> None:
    shutil.copytree(folder, folder.parent / "broken")
    edit("crate", "kreate")(folder.parent / "broken")
    shelf = load_shelf(folder.parent)
    assert [course.id for course in shelf.courses] == ["one"]
    (sentence,) = shelf.broken.values()
    assert sentence.startswith(f"{folder.parent}/broken/course.toml: crate:")
    with pytest.raises(CourseError, match="kreate"):
        load_shelf(folder.parent, "broken")


def test_a_folder_of_nothing_is_no_folder_of_courses(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="there is no course in it"):
        load_shelf(tmp_path)
