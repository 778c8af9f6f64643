"""Which edits are accepted, and a scratch crate that leaves nothing behind."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import workspace
from app.lessons import Lesson
from app.workspace import EditError, lay, merge, place, remove


@pytest.fixture(scope="module")
def lesson(lessons: dict[str, Lesson]) -> Lesson:
    return lessons["hello-std"]


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/passwd", "src/../src/main.rs", "src//main.rs", "SRC/MAIN.RS", "src/main.rs/", "./src/main.rs", "",
     "build.rs", "src/main.rs\0", "src\\main.rs", ".cargo/config.toml", "src/\uff4dain.rs", "x" * 5000],
)  # fmt: skip
def test_a_path_that_is_not_offered_is_refused(lesson: Lesson, path: str) -> None:
    with pytest.raises(EditError, match="cannot be edited") as refused:
        merge(lesson, {path: "x"}, 1000)
    assert refused.value.code == "not-editable"
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("text", "code"), [("a\0b", "nul-byte"), ("ä" * 501, "file-too-large"), ("\ud800", "not-unicode")]
)
def test_a_text_that_cannot_be_a_file_is_refused(lesson: Lesson, text: str, code: str) -> None:
    with pytest.raises(EditError) as refused:
        merge(lesson, {"src/main.rs": text}, 1000)
    assert (refused.value.code, refused.value.field) == (code, "files.src/main.rs")


def test_edits_lie_over_the_lessons_files(lesson: Lesson) -> None:
    files = merge(lesson, {"src/main.rs": "fn main() {}"}, 1000)
    assert files["src/main.rs"] == "fn main() {}"
    assert files["Cargo.toml"] == lesson.files["Cargo.toml"]
    assert lesson.files["src/main.rs"] != "fn main() {}"


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3))
def test_whatever_is_accepted_stays_inside(edits: dict[str, str]) -> None:
    lesson = Lesson("s", 1, "", "", 1, "", "", "", {"a/b": ""}, {}, ("a/b",), (), None, (), (), (), ())
    try:
        files = merge(lesson, edits, 100)
    except EditError:
        return
    assert files.keys() == {"a/b"}


def test_a_crate_is_laid_byte_for_byte_and_removed(tmp_path: Path) -> None:
    root = tmp_path / "run"
    crate = lay(root, {"src/main.rs": "// ü\r\n", ".cargo/config.toml": ""})
    assert (crate / "src/main.rs").read_bytes() == "// ü\r\n".encode()
    assert (crate / ".cargo/config.toml").exists()
    with pytest.raises(FileExistsError):
        lay(root, {})
    remove(root)
    assert not root.exists()


def test_what_was_built_lies_read_only_where_cargo_put_it(tmp_path: Path) -> None:
    built = tmp_path / "built"
    built.write_bytes(b"ELF")
    crate = lay(tmp_path / "run", {})
    place(crate, "target/debug/blog_os", built)
    assert (crate / "target/debug/blog_os").read_bytes() == b"ELF"
    assert (crate / "target/debug/blog_os").stat().st_mode & 0o222 == 0


def test_a_folder_without_permissions_and_a_link_outside_are_removed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    crate = lay(tmp_path / "run", {"a/b/c": ""})
    (crate / "link").symlink_to(outside)
    os.chmod(crate / "a", 0)
    remove(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert (outside / "kept").exists()


@pytest.mark.parametrize("what", ["file", "link", "pipe", "folder", "giant", "in a linked folder"])
def test_only_files_of_a_sensible_size_are_kept_beside_the_artefact(tmp_path: Path, what: str) -> None:
    crate, outside, keep = tmp_path / "crate", tmp_path / "outside", tmp_path / "keep"
    for folder in (crate / "target/debug", outside, keep):
        folder.mkdir(parents=True)
    there = crate / "target/debug/deps/blog_os-1.2.rcgu.o"
    (outside / there.name).write_text("theirs")
    if what == "in a linked folder":
        there.parent.symlink_to(outside)
    else:
        there.parent.mkdir()
    match what:
        case "link":
            there.symlink_to(outside / there.name)
        case "pipe":
            os.mkfifo(there)
        case "folder":
            there.mkdir()
        case "file" | "giant":
            there.touch()
            os.truncate(there, 1 if what == "file" else workspace._LARGEST_COMPANION + 1)
    kept = workspace.keep_beside(crate, "target/debug/blog-os", "Mach-O", keep)
    assert kept == ((keep / "0",) if what == "file" else ())
    assert [*keep.iterdir()] == [*kept]
    assert (outside / there.name).read_text() == "theirs"


def test_few_files_are_kept_beside_the_artefact_and_only_those_of_the_crate(tmp_path: Path) -> None:
    deps, keep = tmp_path / "target/debug/deps", tmp_path / "keep"
    for folder in (deps, keep):
        folder.mkdir(parents=True)
    for name in ("other-1.o", "blog_os-1.rlib", "blog_os-1.d", "blog_os-1.pdb", "blog_os.pdb"):
        (deps / name).write_bytes(b"x" * 100)
    for number in range(20):
        (deps / f"blog_os-1.{number}.rcgu.o").write_bytes(b"x" * number)
    kept = workspace.keep_beside(tmp_path, "target/debug/blog_os", "Mach-O", keep)
    assert [len(one.read_bytes()) for one in kept] == [*range(19, 11, -1)]
    assert workspace.keep_beside(tmp_path, "target/debug/deps/blog_os.exe", "PE", keep) == (keep / "0",)
    assert workspace.keep_beside(tmp_path, "target/debug/other.exe", "PE", keep) == ()


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_what_no_file_can_be_called_is_no_artefact(tmp_path: Path, name: str) -> None:
    assert workspace.inside(tmp_path, f"{tmp_path}/{name}") is None
    assert workspace.inside(tmp_path, f"{tmp_path}/{name}/blog_os") is None
