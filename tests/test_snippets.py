"""Code blocks of a text are inserted where the solution has them, and nowhere else."""

from app.course import Lesson
from app.web.prose import snippet
from app.web.snippets import home_of, inserted


def test_every_block_that_can_be_inserted_brings_its_lines_and_keeps_the_learners(lessons: dict[str, Lesson]) -> None:
    found = 0
    for lesson in lessons.values():
        number = 0
        while (code := snippet(lesson, number)) is not None:
            number += 1
            path = home_of(lesson, code)
            if path is None:
                continue
            found += 1
            mine = {**lesson.files, path: f"{lesson.files[path]}\n// mine\n"}
            now = inserted(lesson, code, mine)
            lines = [line.strip() for line in now[path].splitlines()]
            assert all(line.strip() in lines for line in code.splitlines() if line.strip()), (lesson.slug, code)
            assert "// mine" in lines, (lesson.slug, code)
            assert inserted(lesson, code, now) == now, "a second time changes nothing"
            assert {each: text for each, text in now.items() if each != path} == {
                each: text for each, text in mine.items() if each != path
            }
    assert found > 5


def test_a_block_that_is_no_part_of_the_solution_or_is_there_already_has_no_place(lessons: dict[str, Lesson]) -> None:
    lesson = lessons["panic-handler"]
    assert home_of(lesson, "#[panic_handler]\n") == "src/main.rs"
    assert home_of(lesson, "fn something_else() {}\n") is None
    assert home_of(lesson, "#![no_std]\n") is None
    assert home_of(lesson, "\n") is None
    assert inserted(lesson, "fn something_else() {}\n", lesson.files) == lesson.files
    assert snippet(lesson, 1000) is None
