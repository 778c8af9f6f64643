"""Loading a lesson from a folder; an error names the file and the key."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.course import Course, Lesson, load_course, load_shelf
from app.course.files import CourseError
from app.course.loading import load_lesson
from app.course.prove import neighbour_problems, reference_problems
from app.settings import Settings
from tests.support.courses import course_toml

SLUGS = (
    "hello-std no-std empty-main panic-handler eh-personality panic-abort no-main entry-point linker-error "
    "target-triple bare-metal linker-arguments windows-linker-arguments macos-linker-arguments cargo-config summary "
    "look-inside quiet-the-tools hello-without-libc stack-alignment boot-arm boot-arm-uart panic-message boot-x86 "
    "vga-text kernel-tests"
).split()


def test_every_lesson_says_what_files_of_its_neighbours_do(shipped: Settings) -> None:
    shelf = load_shelf(shipped.lessons_dir)
    assert neighbour_problems(shelf, shelf.lessons) == []


def test_the_course_is_complete_and_in_order(shipped: Settings) -> None:
    lessons = load_course(shipped.lessons_dir / "freestanding-rust-binary").lessons
    assert [lesson.slug for lesson in lessons] == SLUGS
    assert [lesson.number for lesson in lessons] == [*range(1, len(SLUGS) + 1)]
    assert reference_problems(lessons) == []


@pytest.mark.parametrize("slug", SLUGS)
def test_a_lesson_says_what_it_is_for(lessons: dict[str, Lesson], slug: str) -> None:
    lesson = lessons[slug]
    assert len(lesson.text.split()) > 150
    assert len(lesson.hints) >= 3
    assert lesson.goal.strip().endswith(".")
    assert lesson.prediction, "docs/lesson-format.md says how to ask what cargo will say"
    assert set(lesson.editable) <= set(lesson.files)


@pytest.mark.parametrize("slug", SLUGS[1:])
def test_a_lesson_is_not_reached_by_one_click_on_run(lessons: dict[str, Lesson], slug: str) -> None:
    lesson = lessons[slug]
    untouched = {one.command for one in lesson.expectations if one.reached and one.files == "start" and not one.host}
    untouched |= {one.command for one in lesson.expectations if one.reached and lesson.solution == lesson.files}
    assert lesson.first_command not in untouched


def test_only_the_side_trips_may_be_left_out(lessons: dict[str, Lesson]) -> None:
    optional = {slug: lesson.side_trip_of for slug, lesson in lessons.items() if lesson.side_trip_of}
    assert optional == dict.fromkeys(("windows-linker-arguments", "macos-linker-arguments"), "linker-arguments")
    assert all("This step is optional" in lessons[slug].text for slug in optional)


def test_the_capstone_does_not_show_its_own_code(lessons: dict[str, Lesson]) -> None:
    capstone = lessons["summary"]
    code = {line.strip() for path in capstone.editable for line in capstone.solution[path].splitlines()}
    code -= {line.strip() for path in capstone.editable for line in capstone.files[path].splitlines()}
    page = f"{capstone.text}{capstone.goal}{capstone.prediction}{capstone.detours}"
    assert [line for line in code if len(line) > 3 and line in page] == []


@pytest.fixture
def folder(tmp_path: Path, taught: Course) -> Path:
    copy = tmp_path / "04-panic-handler"
    shutil.copytree(taught.folder / "04-panic-handler", copy)
    return copy


def edit(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "lesson.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (edit("title", "titel"), "titel: Extra inputs"),
        (edit("minutes = ", "minutes = 900 #"), "lesson.toml: minutes"),
        (edit("[[check]]", "[[czech]]"), "czech: Extra inputs"),
        (edit("edit = [", 'edit = ["src/lib.rs", '), "'src/lib.rs' is not a file below start/"),
        (edit("title", "= title"), "lesson.toml: "),
        (lambda folder: (folder / "text.md").unlink(), "text.md"),
        (lambda folder: (folder / "text.md").write_bytes(b"\xff\xff"), "text.md"),
        (lambda folder: shutil.rmtree(folder / "start"), "start: there is no such folder"),
        (lambda folder: (folder / "solution" / "other.rs").write_text("x"), "'other.rs' differs from start/"),
        (lambda folder: (folder / "lesson.toml").unlink(), "lesson.toml"),
        (edit("because", "why"), "predict.option.0.why: Extra inputs"),
        (edit('status = "ok"', ""), "predict.option.0: Value error, an option names facts"),
        (edit("[[check]]", '[[detour]]\nid = "x"\ncommand = "frobnicate"\ntext = "?"\n[[check]]'), "detour.0.command"),
        (edit('id = "handler"', 'id = "builds"'), "predict.option: Value error, two options have the same id"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, change: Callable[[Path], None], says: str) -> None:
    assert load_lesson(folder).slug == "panic-handler"
    change(folder)
    with pytest.raises(CourseError) as refused:
        load_lesson(folder)
    assert says in str(refused.value)
    assert str(folder) in str(refused.value)


def test_a_further_folder_is_a_variant_of_the_solution(folder: Path) -> None:
    (folder / "edition-2024").mkdir()
    (folder / "edition-2024" / "Cargo.toml").write_text("[package]\n")
    lesson = load_lesson(folder)
    assert lesson.crate("edition-2024") == {**lesson.solution, "Cargo.toml": "[package]\n"}
    assert lesson.crate("solution") == lesson.solution
    edit('files = "start"', 'files = "edition-2018"')(folder)
    with pytest.raises(CourseError, match="there is no folder 'edition-2018'"):
        load_lesson(folder)


def test_a_detour_is_asked_for_by_the_text_and_proven(folder: Path) -> None:
    assert reference_problems([load_lesson(folder)]) == []
    detour = '[[detour]]\nid = "checked"\ncommand = "cargo check --release"\ntext = "?"\n[[check]]'
    edit("[[check]]", detour)(folder)
    [asked] = reference_problems([load_lesson(folder)])
    assert asked.endswith("detour checked: the text does not ask for 'cargo check --release'")
    text = folder / "text.md"
    text.write_text(f"{text.read_text()}\nTry `cargo check --release`.\n")
    [proven] = reference_problems([load_lesson(folder)])
    assert proven.endswith("detour checked: no expectation proves it")


def test_a_text_offers_the_files_of_a_variants_folder(folder: Path) -> None:
    text = folder / "text.md"
    text.write_text(f"{text.read_text()}\n```offer edition-2024\nTry it\n```\n")
    with pytest.raises(CourseError, match="offer: there is no folder 'edition-2024'"):
        load_lesson(folder)
    (folder / "edition-2024").mkdir()
    (folder / "edition-2024" / "Cargo.toml").write_text("[package]\n")
    assert load_lesson(folder).offers == {"edition-2024": {"Cargo.toml": "[package]\n"}}
    (folder / "edition-2024" / "build.rs").write_text("")
    with pytest.raises(CourseError, match=r"'build.rs' is offered, but a learner cannot edit it"):
        load_lesson(folder)


def test_a_folder_needs_a_number_and_a_slug_once(tmp_path: Path, folder: Path, taught: Course) -> None:
    with pytest.raises(CourseError, match="NN-slug"):
        load_lesson(folder.rename(tmp_path / "panic-handler"))
    (tmp_path / "panic-handler").rename(tmp_path / "04-panic-handler")
    home = tmp_path / "lessons"
    for name in ("04-panic-handler", "05-panic-handler"):
        shutil.copytree(tmp_path / "04-panic-handler", home / name)
    shutil.copy(taught.folder / "errors.toml", home)
    (home / "course.toml").write_text(course_toml("05-panic-handler", "04-panic-handler"))
    with pytest.raises(
        CourseError, match=r"lessons/course\.toml: .*'04-panic-handler' and '05-panic-handler' have the same slug"
    ):
        load_course(home)
    with pytest.raises(CourseError, match="no such folder"):
        load_shelf(tmp_path / "nowhere")


def test_a_target_that_an_offered_command_names_is_declared(folder: Path) -> None:
    edit("commands = [", 'commands = ["cargo build --target riscv32imac-unknown-none-elf", ')(folder)
    (problem,) = reference_problems([load_lesson(folder)])
    assert "riscv32imac-unknown-none-elf stands neither in target nor in targets" in problem
    edit("minutes", 'target = "a-none-b"\ntargets = ["riscv32imac-unknown-none-elf", "a-none-b"]\nminutes')(folder)
    assert load_lesson(folder).targets == ("a-none-b", "riscv32imac-unknown-none-elf")
    assert reference_problems([load_lesson(folder)]) == []


def test_assembly_that_is_given_is_commented_line_by_line(taught: Course) -> None:
    given = [lesson.files["src/boot.s"] for lesson in taught.lessons if "src/boot.s" in lesson.files]
    assert len(given) == 3
    assert given == [(taught.folder / "shared/x86/boot.s").read_text()] * 3, "one file, in three lessons"
    assert not list(taught.folder.glob("*/start/src/boot.s"))
    lines = given[0].splitlines()
    assert [line for line in lines if line.strip() and "#" not in line and not line.endswith(":")] == []


@pytest.mark.parametrize(("host", "reached"), [("x86_64-unknown-linux-gnu", False), ("aarch64-apple-darwin", True)])
def test_an_expectation_may_be_for_one_processor_alone(lessons: dict[str, Lesson], host: str, reached: bool) -> None:
    said = [one for one in lessons["stack-alignment"].expectations if one.is_for(host) and one.files == "start"]
    assert [one.reached for one in said if one.command == "cargo run --release"] == [reached]


def test_a_file_that_lessons_share_stands_once(folder: Path) -> None:
    edit("edit = [", 'shared = { "src/more.rs" = "more.rs" }\nedit = [')(folder)
    with pytest.raises(CourseError, match=r"lesson.toml: shared: there is no file shared/more.rs"):
        load_lesson(folder)
    (folder.parent / "shared").mkdir()
    (folder.parent / "shared/more.rs").write_text("// shared\n")
    lesson = load_lesson(folder)
    assert lesson.files["src/more.rs"] == lesson.solution["src/more.rs"] == "// shared\n"
    assert list(lesson.files) == ["Cargo.toml", "src/main.rs", "src/more.rs"]
    (folder / "start/src/more.rs").write_text("// own\n")
    with pytest.raises(CourseError, match=r"shared: 'src/more.rs' is in start/ as well"):
        load_lesson(folder)
