"""The downloaded crate builds with plain cargo."""

import io
import os
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from app.course import Course, Lesson
from app.toolchain import Toolchain, build_env, preferred
from app.web.handout import as_script, as_zip

NOSTARTFILES = "cargo rustc -- -C link-arg=-nostartfiles"


@pytest.fixture
def environment(toolchains: tuple[Toolchain, ...], tmp_path: Path) -> dict[str, str]:
    """The environment of a shell with a real cargo."""
    chosen = preferred(toolchains, "thumbv7em-none-eabihf")
    assert chosen
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "cargo").symlink_to(chosen.cargo)
    path = f"{folder}:{os.environ['PATH']}"
    return {**build_env(chosen, tmp_path / "cargo-home"), "PATH": path, "HOME": str(tmp_path)}


def run(script: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        ["sh", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize(
    ("slug", "command", "says"),
    [
        ("linker-arguments", NOSTARTFILES, None),
        ("cargo-config", "cargo build", None),
        ("entry-point", "cargo build", "_start"),
        ("bare-metal", "cargo build --target thumbv7em-none-eabihf", None),
    ],
)
def test_the_script_makes_the_crate_and_its_command_does_what_the_page_showed(
    taught: Course,
    lessons: dict[str, Lesson],
    environment: dict[str, str],
    tmp_path: Path,
    slug: str,
    command: str,
    says: str | None,
) -> None:
    lesson = lessons[slug]
    done = run(as_script(taught, lesson, lesson.solution, command), tmp_path / "work", environment)
    assert (done.returncode == 0) is (says is None), done.stderr
    assert says is None or says in done.stderr
    for path, text in lesson.solution.items():
        assert (tmp_path / "work/blog_os" / path).read_text() == text


def test_the_script_writes_over_nothing(
    taught: Course, lessons: dict[str, Lesson], environment: dict[str, str], tmp_path: Path
) -> None:
    lesson = lessons["hello-std"]
    mine = tmp_path / "work/blog_os/Cargo.toml"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert run(as_script(taught, lesson, lesson.files, "cargo build"), tmp_path / "work", environment).returncode != 0
    assert mine.read_text() == "mine"


def test_no_text_ends_its_own_here_document(
    taught: Course, lessons: dict[str, Lesson], environment: dict[str, str], tmp_path: Path
) -> None:
    text = "// $HOME `id` \\ \"'\nEND\nEND_\naND\nEND\u2028x\nE\u00e9\ntouch /nowhere/hit\nfn main() {}\n"
    lesson = lessons["hello-std"]
    files = {**lesson.files, "src/main.rs": text, "a b/it's.txt": "x"}
    script = as_script(taught, lesson, files, "cargo --version")
    assert run(script, tmp_path / "work", environment).returncode == 0
    assert (tmp_path / "work/blog_os/src/main.rs").read_text() == text
    assert (tmp_path / "work/blog_os/a b/it's.txt").read_text() == "x\n"


def test_the_zip_builds(
    taught: Course, lessons: dict[str, Lesson], environment: dict[str, str], tmp_path: Path
) -> None:
    lesson = lessons["cargo-config"]
    content = as_zip(taught, lesson, lesson.solution, "cargo build")
    assert content == as_zip(taught, lesson, lesson.solution, "cargo build")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {f"blog_os/{path}" for path in lesson.solution} < set(archive.namelist())
        archive.extractall(tmp_path / "work")
    assert run("cargo build", tmp_path / "work/blog_os", environment).returncode == 0


def test_the_readme_says_what_to_give(taught: Course, lessons: dict[str, Lesson]) -> None:
    def readme(slug: str, command: str) -> str:
        with zipfile.ZipFile(io.BytesIO(as_zip(taught, lessons[slug], lessons[slug].files, command))) as archive:
            return archive.read("blog_os/README.md").decode()

    assert "rustup target add thumbv7em-none-eabihf\n" in readme("bare-metal", "cargo build")
    assert "rustup" not in readme("no-std", "cargo build")
    assert "    cargo check\n" in readme("no-std", "cargo check")
    assert "    cargo build\n" in readme("no-std", "rm -rf /")
    looked = readme("hello-std", "readelf -d target/debug/blog_os")
    assert "    cargo build\n    readelf -d target/debug/blog_os\n" in looked


def test_a_readme_of_the_crate_stays(taught: Course, lessons: dict[str, Lesson]) -> None:
    lesson = replace(lessons["no-std"], files={"README.md": "mine"})
    with zipfile.ZipFile(io.BytesIO(as_zip(taught, lesson, lesson.files, "cargo build"))) as archive:
        assert archive.read("blog_os/README.md") == b"mine"
