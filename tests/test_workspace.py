"""Which edits are accepted, and a scratch crate that leaves nothing behind."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
