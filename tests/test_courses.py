"""Two courses side by side in the API, the command line and the pages, with separate progress."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.clients import seated
from tests.support.forked import run_forked
from tests.support.server import Server, serving

TINY = Path(__file__).parent / "courses" / "tiny"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, two_courses: Path) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("both") / "data"
    with serving(data, PLAYGROUND_LESSONS_DIR=str(two_courses)) as server:
        yield server


@pytest.fixture
def learner(both: Server) -> Iterator[httpx.Client]:
    with seated(both.url) as client:
        yield client


def verdict(client: httpx.Client, lesson: str, **files: str) -> dict[str, Any]:
    """Run ``cargo build`` and return the verdict."""
    posted = client.post("/api/runs", json={"lesson": lesson, "command": "cargo build", "files": files})
    assert posted.status_code == 202, posted.text
    with client.stream("GET", posted.json()["events"]) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    last: dict[str, Any] = json.loads(lines[-1])
    return last


def playground(folder: Path, data: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    folders = {"PLAYGROUND_LESSONS_DIR": str(folder), "PLAYGROUND_DATA_DIR": str(data)}
    return run_forked(*words, env=os.environ | folders | variables)


def test_programs_list_the_courses_and_choose_one(learner: httpx.Client) -> None:
    courses = learner.get("/api/courses").json()
    assert [course["id"] for course in courses] == ["freestanding-rust-binary", "tiny"]
    assert courses[1] == {"id": "tiny", "title": "A Tiny Course", "post": "https://example.org/tiny/", "lessons": 2}
    assert learner.get("/api/lessons").json()[1]["slug"] == "no-std"
    tiny = learner.get("/api/lessons", params={"course": "tiny"}).json()
    assert [(lesson["slug"], lesson["number"]) for lesson in tiny] == [("hello-std", 1), ("missing-name", 2)]
    assert learner.get("/api/lessons/hello-std", params={"course": "tiny"}).json()["title"] == "A tiny program"
    assert learner.get("/api/lessons/missing-name").status_code == 404
    refused = learner.get("/api/lessons", params={"course": "none"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "no-such-course")


def test_a_run_is_judged_by_its_own_course(learner: httpx.Client) -> None:
    wrong = (TINY / "02-missing-name/solution/src/main.rs").read_text()
    assert verdict(learner, "tiny/missing-name", **{"src/main.rs": wrong})["reached"]
    assert not verdict(learner, "tiny/missing-name")["reached"]
    assert verdict(learner, "freestanding-rust-binary/hello-std")["reached"]
    unknown = learner.post("/api/runs", json={"lesson": "none/hello-std", "command": "cargo build"})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "no-such-course")


def test_progress_is_kept_for_each_course_apart(learner: httpx.Client) -> None:
    text = 'fn main() {\n    println!("my own words");\n}\n'
    assert verdict(learner, "tiny/hello-std", **{"src/main.rs": text})["reached"]
    assert "my own words" in learner.get("/courses/tiny/lessons/hello-std").text
    assert "my own words" not in learner.get("/lessons/hello-std").text
    assert "1 of 2 steps reached" in learner.get("/courses/tiny").text
    assert "0 of 16 steps reached" in learner.get("/courses/freestanding-rust-binary").text
    start = learner.get("/").text
    assert "1 of 2 reached" in start
    assert "0 of 26 reached" in start
    assert learner.post("/forget").status_code == 303
    assert "0 of 2 steps reached" in learner.get("/courses/tiny").text


def test_the_start_lists_the_courses_and_each_has_its_own_pages(learner: httpx.Client) -> None:
    start = learner.get("/").text
    assert 'href="/courses/tiny"' in start
    assert 'href="/courses/freestanding-rust-binary"' in start
    course = learner.get("/courses/tiny").text
    assert "Nobody in Particular" in course
    assert 'href="/courses/tiny/lessons/missing-name"' in course
    assert "Very small" in learner.get("/courses/tiny/glossary").text
    assert "Very small" not in learner.get("/glossary").text
    page = learner.get("/courses/tiny/lessons/hello-std").text
    assert 'href="https://example.org/tiny/#beginning"' in page
    assert 'href="/courses/tiny/glossary#tiny-word"' in page
    assert 'formaction="/courses/tiny/lessons/hello-std/zip"' in page
    bar = learner.get("/courses/tiny/progress/missing-name").text
    assert "/courses/tiny/lessons/hello-std" in bar
    assert learner.get("/courses/none").status_code == 404
    assert learner.get("/courses/tiny/lessons/no-std").status_code == 404


@pytest.fixture
def beside_a_broken_one(tmp_path: Path) -> Path:
    """A folder with the tiny course and a course whose manifest lacks a key."""
    folder = tmp_path / "courses"
    for name in ("broken", "tiny"):
        shutil.copytree(TINY, folder / name)
    manifest = folder / "broken/course.toml"
    manifest.write_text(manifest.read_text().replace("crate = ", "krate = "))
    return folder


def test_the_sound_course_is_served_and_the_page_says_what_is_wrong_with_the_other(
    beside_a_broken_one: Path, tmp_path: Path
) -> None:
    with serving(tmp_path / "data", PLAYGROUND_LESSONS_DIR=str(beside_a_broken_one)) as server:
        sentence = f"{beside_a_broken_one}/broken/course.toml: crate: Field required; krate: Extra inputs"
        with seated(server.url) as client:
            start = client.get("/").text
            assert "A Tiny Course" in start
            assert sentence in start
            assert client.get("/lessons/hello-std").status_code == 200
            assert client.get("/courses/broken").status_code == 503
            refused = client.get("/api/lessons", params={"course": "broken"}).json()["error"]
            assert refused["code"] == "broken-course"
            assert refused["message"].startswith(sentence)


@pytest.mark.parametrize("words", [("serve", "--port", "0"), ("lessons", "check")])
def test_a_broken_course_alone_is_one_sentence(beside_a_broken_one: Path, tmp_path: Path, words: tuple[str]) -> None:
    done = playground(beside_a_broken_one / "broken", tmp_path / "data", *words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{beside_a_broken_one}/broken/course.toml: crate: Field required")
    assert done.stderr.count("\n") == 1


def test_the_check_names_a_broken_course_beside_a_sound_one(beside_a_broken_one: Path, tmp_path: Path) -> None:
    done = playground(beside_a_broken_one, tmp_path / "data", "lessons", "check")
    assert done.returncode == 1
    assert "FAIL" not in done.stdout
    assert done.stderr.startswith(f"{beside_a_broken_one}/broken/course.toml: crate: Field required")


def test_the_default_course_keeps_its_addresses(learner: httpx.Client) -> None:
    old, new = (learner.get(f"{way}/lessons/no-std") for way in ("", "/courses/freestanding-rust-binary"))
    assert (old.status_code, new.status_code) == (200, 200)
    assert 'action="/lessons/no-std/runs#run"' in old.text
    assert 'action="/lessons/no-std/runs#run"' in new.text, "it is the same page"
    assert learner.get("/lessons/missing-name").status_code == 404


def test_a_form_without_scripts_leads_back_to_its_course(learner: httpx.Client) -> None:
    form = {"file:src/main.rs": "fn main() {}\n", "command": "cargo build"}
    ran = learner.post("/courses/tiny/lessons/hello-std/runs", data=form)
    assert "Goal reached" in ran.text
    assert 'action="/courses/tiny/lessons/missing-name/carry"' in ran.text
    carried = learner.post("/courses/tiny/lessons/missing-name/carry", data={"from": "tiny/hello-std"})
    assert (carried.status_code, carried.headers["location"]) == (303, "/courses/tiny/lessons/missing-name")
    assert "fn main() {}" in learner.get("/courses/tiny/lessons/missing-name").text


def test_the_command_line_names_a_lesson_with_its_course(two_courses: Path, tmp_path: Path) -> None:
    def tried(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return playground(two_courses, tmp_path / "data", "try", *words, **variables)

    assert tried("tiny/hello-std").returncode == 0
    missed = tried("missing-name")
    assert missed.returncode == 2
    assert "There is no lesson 'missing-name'" in missed.stderr
    assert tried("missing-name", PLAYGROUND_COURSE="tiny").returncode == 1
    other = tried("hello-std", PLAYGROUND_COURSE="none")
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)
    assert "there is no course 'none'" in other.stderr


def test_the_check_proves_a_lesson_of_another_course(two_courses: Path, tmp_path: Path) -> None:
    done = playground(two_courses, tmp_path / "data", "lessons", "check", "--json", "tiny/missing-name")
    proofs = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert {proof["lesson"] for proof in proofs} == {"tiny/missing-name"}
    assert ["name-missing"] in [proof["classes"] for proof in proofs]
    alone = playground(TINY, tmp_path / "data", "lessons", "check", "hello-std")
    assert alone.returncode == 0, "the folder of one course can be named, too"
