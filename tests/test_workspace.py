"""Accepted and refused edits, and a scratch crate that leaves nothing behind."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.course.lesson import Lesson
from app.run import workspace
from app.run.workspace import EditError, Workspace, merge
from app.runfiles import RunFolder
from bench.pace import processor_time
from tests.support.environment import takes_less_than

CRATE = "blog_os"


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
    ("slug", "path", "says"),
    [
        ("cargo-config", ".cargo/config", "its text belongs in `.cargo/config.toml`"),
        ("cargo-config", "config.toml", "its text belongs in `.cargo/config.toml`"),
        ("hello-std", ".cargo/config", "belongs in `.cargo/config.toml`, which this lesson leaves out"),
        ("hello-std", "main.rs", "its text belongs in `src/main.rs`"),
        ("hello-std", "src/lib.rs", "its text belongs in `src/main.rs`"),
        ("hello-std", "blog_os/cargo.toml", "its text belongs in `Cargo.toml`"),
        ("hello-std", "rust-toolchain.toml", "the compiler is chosen beside the command"),
        ("hello-std", "Cargo.lock", "cargo makes it by itself"),
        ("hello-std", "x86_64-blog_os.json", "no lesson has a target of its own making"),
    ],
)
def test_a_refused_file_is_told_where_its_text_belongs(
    lessons: dict[str, Lesson], slug: str, path: str, says: str
) -> None:
    with pytest.raises(EditError) as refused:
        merge(lessons[slug], {path: "x"}, 1000)
    assert says in str(refused.value)
    assert str(refused.value).endswith(".")


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
def test_every_accepted_edit_stays_inside_the_crate(edits: dict[str, str]) -> None:
    lesson = Lesson("s", "", "", 1, "", "", {"a/b": ""}, {}, ("a/b",), (), None, (), (), (), ())
    try:
        files = merge(lesson, edits, 100)
    except EditError:
        return
    assert files.keys() == {"a/b"}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    with RunFolder(tmp_path / "run") as folder:
        yield folder


@pytest.fixture
def crate(folder: RunFolder) -> Path:
    """The crate of a folder that has been laid."""
    Workspace(folder, CRATE).lay({})
    return folder.path / CRATE


def test_a_crate_is_laid_byte_for_byte(folder: RunFolder) -> None:
    Workspace(folder, CRATE).lay({"src/main.rs": "// ü\r\n", ".cargo/config.toml": ""})
    assert (folder.path / CRATE / "src/main.rs").read_bytes() == "// ü\r\n".encode()
    assert (folder.path / CRATE / ".cargo/config.toml").exists()
    with pytest.raises(FileExistsError):
        Workspace(folder, CRATE).lay({})


def test_what_was_built_lies_read_only_where_cargo_put_it(tmp_path: Path, folder: RunFolder, crate: Path) -> None:
    built = tmp_path / "built"
    built.write_bytes(b"ELF")
    assert Workspace(folder, CRATE).place("target/debug/blog_os", built)
    assert (crate / "target/debug/blog_os").read_bytes() == b"ELF"
    assert (crate / "target/debug/blog_os").stat().st_mode & 0o222 == 0


@pytest.mark.parametrize("path", ["src/main.rs", "src/main.rs/x", "src/main.rs/x/y", "src"])
def test_what_was_built_replaces_no_file_of_the_crate(tmp_path: Path, folder: RunFolder, path: str) -> None:
    built = tmp_path / "built"
    built.write_bytes(b"ELF")
    Workspace(folder, CRATE).lay({"src/main.rs": "text"})
    assert not Workspace(folder, CRATE).place(path, built)
    assert not Workspace(folder, CRATE).place("target/debug/blog_os", tmp_path / "gone")
    assert (folder.path / CRATE / "src/main.rs").read_text() == "text"


def test_cargo_new_files_are_shown_in_order_and_links_are_not(tmp_path: Path, folder: RunFolder, crate: Path) -> None:
    (tmp_path / "secret").write_text("theirs")
    (crate / "b/.git").mkdir(parents=True)
    for name in ("b/x", "a", "b/.git/config", "c\nd"):
        (crate / name).write_text(name)
    (crate / "link").symlink_to(tmp_path / "secret")
    (crate / "linked").symlink_to(tmp_path)
    os.link(tmp_path / "secret", crate / "hard")
    os.mkfifo(crate / "pipe")
    assert list(Workspace(folder, CRATE).new_files()) == [("a", "a"), ("b/x", "b/x"), ("c\nd", "c\nd")]


@pytest.mark.parametrize("what", ["file", "link", "hard link", "pipe", "folder", "giant", "in a linked folder"])
@pytest.mark.parametrize("form", ["PE", "Mach-O"])
def test_only_files_of_a_sensible_size_are_kept_beside_the_artifact(
    tmp_path: Path, folder: RunFolder, crate: Path, what: str, form: str
) -> None:
    outside, kept = tmp_path / "outside", tmp_path / "kept"
    outside.mkdir()
    (crate / "target/debug").mkdir(parents=True)
    there = crate / ("target/debug/blog-os.pdb" if form == "PE" else "target/debug/deps/blog_os-1.2.rcgu.o")
    (outside / there.name).write_text("theirs")
    if what == "in a linked folder":
        if form == "PE":
            there.parent.rmdir()
        there.parent.symlink_to(outside)
    else:
        there.parent.mkdir(exist_ok=True)
    match what:
        case "link":
            there.symlink_to(outside / there.name)
        case "hard link":
            os.link(outside / there.name, there)
        case "pipe":
            os.mkfifo(there)
        case "folder":
            there.mkdir()
        case "file" | "giant":
            there.touch()
            os.truncate(there, 1 if what == "file" else workspace._LARGEST_COMPANION + 1)
    taken, size = Workspace(folder, CRATE).keep_beside("target/debug/blog-os", form, kept)
    assert (taken, size) == (((kept / "0",), 1) if what == "file" else ((), 0))
    assert [*kept.glob("*")] == [*taken]
    assert (outside / there.name).read_text() == "theirs"


def test_few_files_are_kept_beside_the_artifact_and_only_those_of_the_crate(
    tmp_path: Path, folder: RunFolder, crate: Path
) -> None:
    deps, kept = crate / "target/debug/deps", tmp_path / "kept"
    deps.mkdir(parents=True)
    for name in ("other-1.o", "blog_os-1.rlib", "blog_os-1.d", "blog_os-1.pdb", "blog_os.pdb"):
        (deps / name).write_bytes(b"x" * 100)
    for number in range(20):
        (deps / f"blog_os-1.{number}.rcgu.o").write_bytes(b"x" * number)
    taken, size = Workspace(folder, CRATE).keep_beside("target/debug/blog_os", "Mach-O", kept)
    assert [len(one.read_bytes()) for one in taken] == [*range(19, 11, -1)]
    assert size == sum(range(19, 11, -1))
    assert Workspace(folder, CRATE).keep_beside("target/debug/deps/blog_os.exe", "PE", kept) == ((kept / "0",), 100)
    assert Workspace(folder, CRATE).keep_beside("target/debug/other.exe", "PE", kept) == ((), 0)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/run/blog_os/target/debug/blog_os", "target/debug/blog_os"),
        ("/run/blog_os/./out//debug/blog_os", "out/debug/blog_os"),
        ("/run/blog_os/../../etc/passwd", None),
        ("/run/blog_os/../home/x", None),
        ("/run/blog_os", None),
        ("/run/blog_os/", None),
        ("/run/blog_osx/y", None),
        ("/run/blog_os/a\0b", None),
        ("/run/blog_os/\ud800/blog_os", None),
        ("/run/blog_os/" + "d/" * 3000, None),
        ("target/debug/blog_os", None),
    ],
)
def test_only_what_lies_in_the_crate_is_an_artifact(name: str, path: str | None) -> None:
    assert Workspace(RunFolder(Path("/run")), CRATE).inside(name) == path


@pytest.mark.parametrize("length", [100, 4_000, 10_000_000])
def test_a_forged_path_is_refused_at_once(folder: RunFolder, crate: Path, tmp_path: Path, length: int) -> None:
    # A path through thousands of links with long detours would take a resolver seconds.
    (crate / "d").mkdir()
    for number in range(300):
        (crate / f"l{number}").symlink_to("d/../" * 800 + f"l{number + 1}")
    with takes_less_than(0.2):
        for name in (f"{folder.path}/{CRATE}/l0/x", f"{folder.path}/{CRATE}/" + "d/" * (length // 2) + "x"):
            path = Workspace(folder, CRATE).inside(name)
            assert path is None or Workspace(folder, CRATE).keep(path, tmp_path / "kept") is None


def test_a_configuration_that_takes_long_to_read_names_no_target() -> None:
    with processor_time() as cost:
        for config in (
            ".".join("a" * 5000) + "=1\n[b]\n",
            f"[{'.'.join('a' * 5000)}]\nb.c = 1\n[b]\n",
            "a=1\n" * 16_000,
        ):
            assert workspace.configured_targets({".cargo/config.toml": config}) == ()
    assert cost.seconds < 0.5
    assert workspace.configured_targets({".cargo/config.toml": '[build]\ntarget = "a-b"\n'}) == ("a-b",)
