"""A learner who wants others to get an answer of the learner's own making, in a real engine that keeps answers."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from app.course import Course, Lesson
from app.engine.inventory import LocalSetup
from app.engine.local import LocalEngine
from app.protocol.command import parse
from app.protocol.events import Artifact, Event, Started
from app.protocol.job import JobSpec
from app.settings import Settings
from app.toolchain import Toolchain
from tests.attacks.artifacts import MACRO_MANIFEST, macro_crate
from tests.attacks.case import attack
from tests.support.bench import printed
from tests.support.jobs import job

pytestmark = pytest.mark.anyio

MARK = "hush-of-the-attacker"
_MAKES_A_BUILD_SCRIPT = macro_crate(f"""
    fs::write("build.rs", r#"fn main() {{ println!("cargo:warning={MARK}"); }}"#).unwrap();
    forge(&format!("{{crate_dir}}/build.rs"));""")


@pytest.fixture
async def engine(
    settings: Settings, taught: Course, found: LocalSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LocalEngine]:
    """An engine that keeps answers, not in the cache folder but in one of its own."""
    if found.isolation.level != "namespaces":
        pytest.skip("answers are only kept at the isolation level namespaces")
    monkeypatch.setattr("app.engine.kept._FOLDER", str(tmp_path / "answers"))
    async with LocalEngine(settings, (taught,), found=found, keep_answers=True, ahead=True) as made:
        yield made


async def _ran(engine: LocalEngine, spec: JobSpec) -> list[Event]:
    with anyio.fail_after(300):
        return [event async for event in engine.events(await engine.submit(spec))]


def _is_kept(events: list[Event]) -> bool:
    return any(isinstance(event, Started) and event.age is not None for event in events)


@attack(
    "kept-answer", "have others get the answer to a run into which one's own file was brought as an earlier artifact"
)
async def test_kept_answer(engine: LocalEngine, lessons: dict[str, Lesson], toolchain: Toolchain) -> None:
    lesson, build = lessons["hello-std"], parse("cargo build")

    async def same(owner: str, **more: object) -> list[Event]:
        return await _ran(engine, job(lesson, lesson.files, build, toolchain, owner=owner, **more))

    # An answer is kept shortly after its verdict.
    assert any([_is_kept(await same("one")) for _ in range(3)])
    files = {**lesson.files, "src/main.rs": _MAKES_A_BUILD_SCRIPT, "Cargo.toml": MACRO_MANIFEST}
    made = job(lesson, files, build, toolchain, owner="eve")
    [artifact] = [event for event in await _ran(engine, made) if isinstance(event, Artifact)]
    assert artifact.path == "build.rs", "the attack did not begin"
    for again in (True, False):
        hers = await same("eve", after=made.run_id, again=again)
        assert MARK in printed(hers), "it is her own run"
        assert not _is_kept(hers)
    for _ in range(3):
        his = await same("two")
        assert _is_kept(his), "she has not removed the answer either"
        assert MARK not in printed(his)
        assert [event.path for event in his if isinstance(event, Artifact)] == ["target/debug/blog_os"]
