"""The chain before the learner's code: of binaries, after errors, and along the course as compilers were recorded."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from app.course import Course, Lesson
from app.course.startup import LINKS, Link, Startup, after_errors, from_texts, latest, of_artifact
from app.engine import Inventory, JobSpec
from app.progress import Progress
from app.protocol.command import parse
from app.protocol.events import Verdict
from app.web.keeper import ProgressKeeper
from tests.support.verdicts import binary, untold

SEAT = "ada"
LOADER = "/lib64/ld-linux-x86-64.so.2"
C_ONLY: tuple[Link, ...] = ("loader", "start-file", "c-runtime", "main")
ALONG: dict[str, tuple[Link, ...]] = {
    "hello-std": LINKS,
    "no-std": C_ONLY,
    "panic-handler": C_ONLY,
    "panic-abort": C_ONLY,
    "no-main": ("loader", "start-file"),
    "entry-point": ("loader", "start-file"),
    "bare-metal": (),
    "linker-arguments": ("loader",),
}
"""The links left after each lesson's solution, whatever the compiler."""


class NoInventory:
    """The inventory of a machine without compilers."""

    async def toolchains(self) -> tuple[object, ...]:
        return ()


@pytest.fixture
def progress(tmp_path: Path) -> Iterator[Progress]:
    progress = Progress(tmp_path / "progress.sqlite3")
    yield progress
    progress.close()


def test_a_binary_shows_what_was_linked_into_it() -> None:
    std = binary(interpreter=LOADER, runtime=("_Unwind_RaiseException", "__libc_start_main", "malloc"), bytes=10_000)
    assert of_artifact(std) == Startup(LINKS, 10_000, built=True)
    assert of_artifact(binary(interpreter=LOADER, runtime=("__libc_start_main",))).links == C_ONLY
    assert of_artifact(binary(interpreter=LOADER)).links == ("loader",)
    assert of_artifact(binary(runtime=("malloc",))).links == ()


def test_a_function_that_is_gone_calls_nothing() -> None:
    before = Startup(LINKS, 10_000, built=True)
    assert after_errors(before, {"main"}) == Startup(LINKS[:3], 10_000)
    assert after_errors(before, {"loader"}).links == LINKS[1:]
    assert after_errors(before, ()).links == LINKS
    assert after_errors(Startup(("loader",)), {"rust-runtime"}).links == ("loader",)


@pytest.mark.parametrize("startup", [Startup(), Startup((), 4028, built=True), Startup(LINKS[:2], 7)])
def test_texts_restore_it(startup: Startup) -> None:
    assert from_texts(startup.as_texts()) == startup


def test_the_latest_note_is_the_last_lessons() -> None:
    notes = {"b": Startup((), 2, built=True).as_texts(), "d": Startup((), 4, built=True).as_texts()}
    assert latest(notes, "abc") == Startup((), 2, built=True)
    assert latest(notes, "a") is None


@pytest.mark.anyio
@pytest.mark.parametrize("generation", ["1.63", "1.95", "1.96"])
async def test_the_chain_loses_its_links_along_the_course(progress: Progress, taught: Course, generation: str) -> None:
    keeper = ProgressKeeper(progress, {taught.id: taught}, cast("Inventory", NoInventory()), untold)
    left = {}
    for lesson in taught.lessons:
        if lesson.slug in ALONG and await _replayed(keeper, taught, lesson, generation):
            notes = await progress.versions.noted_in_all(SEAT, "startup")
            found = latest(notes, [one.key for one in taught.up_to(lesson)])
            assert found
            left[lesson.slug] = found.links
    assert len(left) > 4
    assert left == {slug: ALONG[slug] for slug in left}


async def _replayed(keeper: ProgressKeeper, course: Course, lesson: Lesson, generation: str) -> bool:
    """Give the keeper the lesson's first recorded build of its solution; return False if there is none."""
    files = "start" if lesson.slug == "hello-std" else "solution"
    run = next(
        (
            run
            for run in lesson.recordings
            if run.what.generation == generation
            and run.what.files == files
            and parse(run.what.command) == parse(lesson.commands[0])
        ),
        None,
    )
    if run is None:
        return False
    job = JobSpec(
        course=course.id,
        digest=course.digest,
        lesson=lesson.slug,
        files=lesson.solution,
        command=parse(run.what.command),
        toolchain=generation,
        owner=SEAT,
    )
    await keeper.verdict(job, run.events, Verdict(reached=True, checks=()))
    return True
