"""Kept answers: which runs may have one, how the store is bounded, and what identical runs share in a real engine."""

import errno
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from app.course import Course, Lesson
from app.engine import OwnerQueueFullError, kept
from app.engine.inventory import LocalInventory, LocalSetup
from app.engine.kept import KeptAnswers
from app.engine.kept.rules import agree, is_public, key_of, lasting, only_compiles
from app.engine.kept.store import AnswerStore, product_stamp
from app.engine.local import LocalEngine
from app.engine.log import Run
from app.engine.nats.broker import Broker
from app.engine.nats.engine import NatsEngine
from app.engine.nats.inventory import NatsInventory
from app.engine.scratch import Scratch
from app.protocol.command import parse
from app.protocol.events import Artifact, Check, Diagnostic, Event, Finished, Output, Queued, Started, Verdict
from app.protocol.job import JobSpec
from app.run.runner import Built
from app.sandbox.box import Level
from app.settings import Settings
from app.toolchain import Toolchain
from tests.support.broker import WorkerProcess, nats_server
from tests.support.jobs import job

SCRATCH = "/tmp/playground/server-x"
STARTED = Started(id=1, toolchain="1.96", argv=("cargo", "build"), isolation="namespaces")
ENDED = Finished(id=3, status="failed", exit_code=101, seconds=0.2)
ERROR = Diagnostic(id=2, level="error", code="E0152", message="twice", rendered="twice, in 0.21s", error_class="twice")
ARTIFACT = Artifact(
    id=2,
    path="target/debug/x",
    bytes=9,
    sha256="00",
    format="ELF",
    machine="x86-64",
    entry=1,
    entry_symbol="_start",
    needed=(),
    interpreter=None,
)
VERDICT = Verdict(id=4, reached=True, checks=(Check(id="a", title="It builds", ok=True),))
LOG: tuple[Event, ...] = (STARTED, ERROR, ENDED, VERDICT)


def text(line: str) -> Output:
    return Output(id=2, stream="stderr", text=line)


# The rules


def test_only_the_lessons_own_texts_are_public(lessons: dict[str, Lesson]) -> None:
    lesson, build = lessons["panic-handler"], parse("cargo build")
    assert is_public(job(lesson, lesson.files, build, "1.96"), lesson)
    assert is_public(job(lesson, lesson.solution, build, "1.96"), lesson)
    assert not is_public(job(lesson, {**lesson.files, "src/main.rs": "// mine\n"}, build, "1.96"), lesson)
    assert not is_public(job(lesson, lesson.files, build, "1.96", after="mine"), lesson)


@pytest.mark.parametrize(
    ("command", "files", "may"),
    [
        ("cargo build", {}, True),
        ("cargo check", {}, True),
        ("cargo rustc -- -C link-arg=-nostartfiles", {}, True),
        ("cargo run", {}, False),
        ("cargo test", {}, False),
        ("rustc --version", {}, False),
        ("target/debug/x", {}, False),
        ("qemu-system-arm -kernel target/debug/x", {}, False),
        ("cargo build", {"build.rs": "fn main() {}"}, False),
        ("cargo build", {"Cargo.toml": '[package]\nbuild = "make.rs"\n'}, False),
        ("cargo build", {"Cargo.toml": "[lib]\nproc-macro = true\n"}, False),
        ("cargo build", {"Cargo.toml": "lib.proc_macro = true\n"}, True),
    ],
)
def test_a_run_that_starts_a_program_has_no_answer(command: str, files: dict[str, str], may: bool) -> None:
    assert only_compiles(parse(command), files) is may


def test_the_key_names_everything_that_an_answer_depends_on(lessons: dict[str, Lesson], toolchain: Toolchain) -> None:
    lesson = lessons["hello-std"]
    spec = job(lesson, lesson.files, parse("cargo build"), toolchain)
    key = key_of(spec, toolchain, "machine")
    changes: dict[str, object] = {
        **dict.fromkeys(("course", "digest", "lesson", "toolchain", "after"), "another"),
        "files": {**lesson.solution, "src/main.rs": "// other\n"},
        "command": parse("cargo build --release"),
    }
    others = [key_of(spec.model_copy(update={name: to}), toolchain, "machine") for name, to in changes.items()]
    compilers = (
        replace(toolchain, commit="another"),
        replace(toolchain, targets={}),
        replace(toolchain, sysroot=Path("/another")),
        replace(toolchain, env={"A": "b"}),
    )
    others += [key_of(spec, compiler, "machine") for compiler in compilers]
    others.append(key_of(spec, toolchain, "another machine"))
    assert len({key, *others}) == 1 + len(others)
    same: dict[str, object] = {
        "owner": "me",
        "queue_owner": "me",
        "attended": True,
        "again": True,
        "run_id": "x",
        "priority": 1,
    }
    for name, to in same.items():
        assert key_of(spec.model_copy(update={name: to}), toolchain, "machine") == key
    assert JobSpec.model_fields.keys() == changes.keys() | same.keys()


def test_an_answer_begins_after_the_queue_and_is_as_good_as_stored() -> None:
    lost = VERDICT.model_copy(update={"stored": False})
    assert lasting([Queued(position=0), *LOG[:-1], lost], SCRATCH) == LOG


@pytest.mark.parametrize(
    "log",
    [
        (),
        LOG[:-1],
        (STARTED, VERDICT),
        (STARTED, ENDED.model_copy(update={"status": "timeout", "exit_code": None}), VERDICT),
        (STARTED, ENDED.model_copy(update={"status": "cancelled", "exit_code": None}), VERDICT),
        (STARTED, ENDED.model_copy(update={"status": "limit", "limit": "memory"}), VERDICT),
        (STARTED, ENDED.model_copy(update={"exit_code": None}), VERDICT),
        (STARTED, ENDED.model_copy(update={"reason": "restarted"}), VERDICT),
        (STARTED, text("process didn't exit successfully: `rustc` (signal: 9, SIGKILL: kill)"), ENDED, VERDICT),
        (STARTED, text("No space left on device (os error 28)"), ENDED, VERDICT),
        (STARTED, text("linking with `cc` failed: signal: 9 (SIGKILL)"), ENDED, VERDICT),
        (STARTED, text("collect2: fatal error: ld terminated with signal 9 [Killed]"), ENDED, VERDICT),
        (STARTED, text("ld: final link failed: No space left on device"), ENDED, VERDICT),
        (text("This run waits for x86_64-unknown-none."), *LOG),
        (STARTED, ARTIFACT.model_copy(update={"format": "unknown"}), ENDED, VERDICT),
        (STARTED, ENDED, VERDICT.model_copy(update={"checks": ()})),
        (STARTED, text(f"Compiling x v0.1.0 ({SCRATCH}/1/x)"), ENDED, VERDICT),
    ],
)
def test_limits_timeouts_faults_waits_and_scratch_paths_are_not_kept(log: Sequence[Event]) -> None:
    assert lasting(log, SCRATCH) is None


def test_answers_agree_apart_from_times_and_digests() -> None:
    built = (STARTED, ARTIFACT, text("Finished in 0.12s"), ENDED, VERDICT)
    again = (
        STARTED,
        text("Finished in 3.45s"),
        ARTIFACT.model_copy(update={"sha256": "01"}),
        ENDED.model_copy(update={"seconds": 3.0}),
        VERDICT,
    )
    assert agree(built, again)


@pytest.mark.parametrize(
    "other",
    [
        (STARTED, ENDED, VERDICT),
        (STARTED, ERROR.model_copy(update={"rendered": "thrice"}), ENDED, VERDICT),
        (STARTED, ERROR, ENDED.model_copy(update={"exit_code": 1}), VERDICT),
        (STARTED, ERROR, ENDED, VERDICT.model_copy(update={"reached": False})),
        (STARTED, ERROR, ARTIFACT, ENDED, VERDICT),
    ],
)
def test_another_answer_does_not_agree(other: Sequence[Event]) -> None:
    assert not agree(LOG, other)


# The store


@pytest.fixture
def store(tmp_path: Path) -> AnswerStore:
    made = AnswerStore(tmp_path / "answers", "one")
    made.open()
    return made


def _of_another_process(tmp_path: Path) -> AnswerStore:
    """Return the same store without what a process remembers of it."""
    return AnswerStore(tmp_path / "answers", "one")


@pytest.fixture
def built(tmp_path: Path) -> Built:
    folder = tmp_path / "built"
    folder.mkdir()
    for name in ("program", "0"):
        (folder / name).write_text(f"the {name}")
    return Built(folder / "program", "target/debug/x", (folder / "0",), 16)


def test_an_answer_comes_back_with_its_artifact(store: AnswerStore, built: Built, tmp_path: Path) -> None:
    assert "key" not in store
    assert store.get("key") is None
    store.put("key", LOG, built)
    assert "key" in store
    built.file.unlink()
    found = store.get("key", tmp_path / "kept")
    assert found
    assert found.events == LOG
    assert found.built
    assert found.built.file.read_text() == "the program"
    assert [one.read_text() for one in found.built.companions] == ["the 0"]
    assert found.built.path == built.path
    assert found.built.bytes == len("the program") + len("the 0")
    store.drop("key")
    assert found.built.file.read_text() == "the program"


def test_an_artifact_on_another_file_system_is_copied(
    store: AnswerStore, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_source: Path, _target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    store.put("key", LOG, built)
    found = store.get("key", tmp_path / "kept")
    assert found
    assert found.built
    assert found.built.file.read_text() == "the program"


def test_runs_share_an_artifact_while_the_answers_are_on_another_file_system(
    store: AnswerStore, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def link_within(source: Path, target: Path) -> None:
        if (tmp_path / "answers") in source.parents or (tmp_path / "answers") in target.parents:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(source, target)

    monkeypatch.setattr(os, "link", link_within)
    store.put("key", LOG, built)
    found = [store.get("key", tmp_path / name) for name in ("first", "second")]
    inodes = {one.built.file.stat().st_ino for one in found if one and one.built}
    assert inodes == {built.file.stat().st_ino}
    for folder in ("built", "first", "second"):
        (tmp_path / folder / "0").unlink()
    third = store.get("key", tmp_path / "third")
    assert third
    assert third.built
    assert [one.read_text() for one in (third.built.file, *third.built.companions)] == ["the program", "the 0"]
    assert third.built.file.stat().st_ino not in inodes, "the files of the answer, because those of runs are gone"


def test_an_answer_that_another_process_has_replaced_comes_with_its_own_artifact(
    store: AnswerStore, built: Built, tmp_path: Path
) -> None:
    store.put("key", LOG, built)
    assert store.get("key", tmp_path / "kept")
    other = _of_another_process(tmp_path)
    other.drop("key")
    program = tmp_path / "program"
    program.write_text("another program")
    other.put("key", LOG, Built(program, "target/debug/x", (), 15))
    found = store.get("key", tmp_path / "next")
    assert found
    assert found.built == Built(tmp_path / "next" / "program", "target/debug/x", (), 15)
    assert found.built.file.read_text() == "another program"


def test_the_least_recently_used_answers_go(tmp_path: Path) -> None:
    size = len("".join(event.model_dump_json() for event in LOG)) + 200
    store = AnswerStore(tmp_path, "one", most_bytes=5 * size)
    store.open()
    for number in range(4):
        store.put(f"{number}", LOG, None)
        # A file system's clock may be too coarse to order these by itself.
        os.utime(tmp_path / "one" / f"{number}" / "events", (number, number))
    store.get("0")
    for number in range(4, 8):
        store.put(f"{number}", LOG, None)
        os.utime(tmp_path / "one" / f"{number}" / "events", (number, number))
    left = {path.name for path in (tmp_path / "one").iterdir()}
    assert "0" in left
    assert "1" not in left
    used = sum(path.stat().st_size for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert used <= 5 * size


def test_there_are_not_countless_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.engine.kept.store.MOST_ANSWERS", 3)
    store = AnswerStore(tmp_path, "one")
    store.open()
    for number in range(5):
        store.put(f"{number}", LOG, None)
        os.utime(tmp_path / "one" / f"{number}" / "events", (number, number))
    assert [f"{number}" in store for number in range(5)] == [False, False, True, True, True]


def test_a_large_answer_evicts_nothing(tmp_path: Path, built: Built) -> None:
    store = AnswerStore(tmp_path / "answers", "one", most_bytes=4000)
    store.open()
    store.put("small", (STARTED, VERDICT), None)
    store.put("large", (STARTED, text("x" * 1000), VERDICT), built)
    assert "small" in store
    assert "large" not in store


def test_another_version_begins_with_an_empty_store(store: AnswerStore, tmp_path: Path) -> None:
    store.put("key", LOG, None)
    same = AnswerStore(tmp_path / "answers", "one")
    same.open()
    assert same.get("key")
    other = AnswerStore(tmp_path / "answers", "two")
    other.open()
    assert "key" not in other
    assert not (tmp_path / "answers" / "one").exists()
    store.put("key", LOG, None)
    assert store.get("key"), "the process of the old version goes on"


ABOUT = '{"at": 1, "path": "", "files": []}\n'


@pytest.mark.parametrize(
    "damage",
    ["", "{}\n", "not JSON\n", f'{ABOUT}{{"type": "?"}}\n', ABOUT, f"{ABOUT}{STARTED.model_dump_json()}\n"],
    ids=["empty", "no head", "not JSON", "an unknown event", "no events", "cut off"],
)
def test_a_damaged_answer_is_removed(store: AnswerStore, tmp_path: Path, damage: str) -> None:
    store.put("key", LOG, None)
    (tmp_path / "answers/one/key/events").write_text(damage)
    assert store.get("key") is None
    assert "key" not in store


def test_an_answer_without_its_artifact_is_none(store: AnswerStore, built: Built, tmp_path: Path) -> None:
    store.put("key", LOG, built)
    (tmp_path / "answers/one/key/0").unlink()
    assert _of_another_process(tmp_path).get("key", tmp_path / "kept") is None
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("lost", ["events", "program", "0"])
def test_an_answer_of_which_a_part_is_gone_is_replaced(
    store: AnswerStore, built: Built, tmp_path: Path, lost: str
) -> None:
    store.put("key", LOG, built)
    (tmp_path / "answers/one/key" / lost).unlink()
    assert _of_another_process(tmp_path).get("key", tmp_path / "kept") is None
    assert "key" not in store
    store.put("key", LOG, built)
    assert store.get("key", tmp_path / "kept")


def test_an_answer_that_is_being_written_makes_no_room(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path, "one", most_bytes=8000)
    store.open()
    for name, age in ((".left", 3600), (".live", 0)):
        draft = tmp_path / "one" / name
        draft.mkdir()
        (draft / "program").write_bytes(bytes(8000))
        os.utime(draft, (time.time() - age,) * 2)
    store.put("key", LOG, None)
    assert {path.name for path in (tmp_path / "one").iterdir()} == {".live", "key"}


def test_the_stamp_changes_with_the_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "one.py").touch()
    monkeypatch.setattr("app.engine.kept.store._PACKAGE", tmp_path)
    before = product_stamp()
    assert product_stamp() == before
    (tmp_path / "two.rs").touch()
    changed = product_stamp()
    assert changed != before
    monkeypatch.setattr("app.engine.kept.store.__version__", "9.9.9")
    assert product_stamp() != changed


# A real engine

Jobs = Callable[..., JobSpec]


@pytest.fixture
def jobs(lessons: dict[str, Lesson], toolchain: Toolchain) -> Jobs:
    lesson = lessons["linker-arguments"]

    def made(main: str | None = None, **more: object) -> JobSpec:
        files = {**lesson.solution, **({"src/main.rs": main} if main else {})}
        return job(lesson, files, parse("cargo rustc -- -C link-arg=-nostartfiles"), toolchain, **more)

    return made


@pytest.fixture
async def engine(settings: Settings, taught: Course, found: LocalSetup, tmp_path: Path) -> AsyncIterator[LocalEngine]:
    """An engine that keeps answers in a folder of its own. It notes whose verdicts it has reported."""
    if found.isolation.level != "namespaces":
        pytest.skip("answers are only kept at the isolation level namespaces")
    told: list[str | None] = []

    async def on_verdict(spec: JobSpec, _events: Sequence[Event], _verdict: Verdict) -> None:
        told.append(spec.owner)

    two = settings.model_copy(update={"max_runs": 2})
    async with LocalEngine(two, (taught,), on_verdict, found=found, keep_answers=True) as made:
        made._kept._store = AnswerStore(tmp_path / "answers", "test")
        made._kept._store.open()
        made.told = told  # type: ignore[attr-defined]  # for the tests
        yield made


async def followed(engine: LocalEngine | NatsEngine, run_id: str) -> list[Event]:
    with anyio.fail_after(300):
        return [event async for event in engine.events(run_id)]


async def ran(engine: LocalEngine | NatsEngine, spec: JobSpec) -> list[Event]:
    """Return the events of a run, once everything about it is done, which is shortly after its verdict."""
    events = await followed(engine, await engine.submit(spec))
    if isinstance(engine, LocalEngine):
        with anyio.fail_after(60):
            while engine._kept._runs:  # noqa: ASYNC110 - the engine tells nobody
                await anyio.sleep(0.01)
    return events


def age(events: Sequence[Event]) -> int | None:
    return next(event.age for event in events if isinstance(event, Started))


async def begun(engine: LocalEngine, run_id: str) -> None:
    """Wait until the run's process starts."""
    with anyio.fail_after(300):
        async for event in engine.events(run_id):
            if isinstance(event, Started):
                return


@pytest.mark.anyio
async def test_a_known_answer_is_given_without_a_process(engine: LocalEngine, jobs: Jobs) -> None:
    first = await ran(engine, jobs(owner="one"))
    spec = jobs(owner="two", attended=True)
    second = await ran(engine, spec)
    assert age(first) is None
    assert age(second) is not None
    assert [event.id for event in second] == list(range(1, len(second) + 1))
    assert second[0] == first[0] == Queued(id=1, position=0)
    assert second[2:] == first[2:]
    assert isinstance(second[-1], Verdict)
    assert second[-1].reached
    assert engine.told == ["one", "two"]  # type: ignore[attr-defined]  # see the fixture
    timing = (await engine.status(spec.run_id)).timing
    assert "kept" in timing
    assert not {"lay", "spawn", "process"} & timing.keys()
    await engine.forget("one")
    assert b"".join([piece async for piece in engine.artifact_bytes(spec.run_id)]).startswith(b"\x7fELF")
    assert (await engine.artifact_details(spec.run_id)).card.facts.format == "ELF"
    assert age(await ran(engine, jobs(again=True))) is None, "Run again really runs"
    assert age(await ran(engine, jobs())) is not None


@pytest.mark.anyio
async def test_other_limits_give_another_key_and_a_weaker_isolation_none(
    settings: Settings, taught: Course, found: LocalSetup, jobs: Jobs
) -> None:
    def key(*, level: Level = "namespaces", **changed: Any) -> str | None:
        box = replace(found.isolation.box, level=level)
        inventory = LocalInventory(settings, (taught,))
        inventory.begin(replace(found, isolation=replace(found.isolation, box=box)))
        other = settings.model_copy(update=changed)
        return KeptAnswers(other, {taught.id: taught}, inventory, Scratch(settings.scratch_dir), enabled=True)._key(
            jobs()
        )

    assert key() == key(port=1)
    changes: dict[str, Any] = {"memory_bytes": 1 << 28, "processes": 17, "run_seconds": 1.0, "output_bytes": 2048}
    others = [key(**{name: value}) for name, value in changes.items()]
    assert len({key(), *others}) == 1 + len(others)
    assert key(level="landlock") is None


@pytest.mark.anyio
async def test_identical_runs_in_flight_share_one_build(engine: LocalEngine, jobs: Jobs) -> None:
    specs = [jobs(owner=f"{number}") for number in range(8)]
    await engine.submit(specs[0])
    await begun(engine, specs[0].run_id)
    for spec in specs[1:]:
        await engine.submit(spec)
    logs = [await followed(engine, spec.run_id) for spec in specs]
    assert [age(log) is None for log in logs] == [True] + 7 * [False]
    assert len({log[-1].model_copy(update={"id": 0}).model_dump_json() for log in logs}) == 1
    assert sorted(map(str, engine.told)) == [f"{number}" for number in range(8)]  # type: ignore[attr-defined]  # the fake's own


@pytest.mark.anyio
async def test_runs_that_wait_for_an_identical_one_count_for_their_owner(engine: LocalEngine, jobs: Jobs) -> None:
    specs = [jobs(queue_owner="one") for _ in range(10)]
    await engine.submit(specs[0])
    await begun(engine, specs[0].run_id)
    for spec in specs[1:9]:
        await engine.submit(spec)
        await anyio.lowlevel.checkpoint()
    with pytest.raises(OwnerQueueFullError):
        await engine.submit(specs[9])
    for spec in specs[:9]:
        await followed(engine, spec.run_id)
    await ran(engine, specs[9])


@pytest.mark.anyio
async def test_cancelling_one_does_not_end_the_others(engine: LocalEngine, jobs: Jobs) -> None:
    specs = [jobs(owner=f"{number}") for number in range(5)]
    await engine.submit(specs[0])
    await begun(engine, specs[0].run_id)
    for spec in specs[1:]:
        await engine.submit(spec)
    await engine.cancel(specs[2].run_id)
    await engine.cancel(specs[0].run_id)
    logs = [await followed(engine, spec.run_id) for spec in specs]
    ends = [next(event.status for event in log if isinstance(event, Finished)) for log in logs]
    assert ends == ["cancelled", "ok", "cancelled", "ok", "ok"]
    built = [number for number, log in enumerate(logs) if ends[number] == "ok" and age(log) is None]
    assert len(built) == 1, "the others share the next one's build"


@pytest.mark.anyio
async def test_runs_that_are_cancelled_one_after_the_other_delay_nobody_for_ever(
    engine: LocalEngine, jobs: Jobs
) -> None:
    answers, victim = engine._kept, Run(jobs(owner="victim"))
    for waits in (1, 2):
        other = Run(jobs(owner="eve"))
        assert not answers.has_answer(other)
        async with anyio.create_task_group() as tasks:
            with answers.in_progress(other):
                assert answers.has_answer(victim)
                tasks.start_soon(answers.answer, victim)
                await anyio.wait_all_tasks_blocked()
                other.emit(Finished(status="cancelled", exit_code=None, seconds=0.1))
        assert victim.answer_waits == waits
    third = Run(jobs(owner="eve"))
    assert not answers.has_answer(third)
    with answers.in_progress(third):
        assert not answers.has_answer(victim), "it builds for itself"


@pytest.mark.anyio
async def test_a_learners_text_is_not_kept(engine: LocalEngine, jobs: Jobs, lessons: dict[str, Lesson]) -> None:
    mine = lessons["linker-arguments"].solution["src/main.rs"] + "// mine\n"
    assert age(await ran(engine, jobs(mine))) is None
    assert not engine._kept.has_answer(Run(jobs(mine)))


@pytest.mark.anyio
async def test_some_answers_are_checked_and_a_wrong_one_is_removed(
    engine: LocalEngine, jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await ran(engine, jobs())
    monkeypatch.setattr(kept, "CHECKED_EVERY", 1)
    assert age(await ran(engine, jobs())) is None
    assert engine._kept.has_answer(Run(jobs())), "the two agree"
    [file] = (tmp_path / "answers/test").glob("*/events")
    lines = file.read_text().splitlines()
    end = next(number for number, line in enumerate(lines) if '"finished"' in line)
    lines[end] = json.dumps(json.loads(lines[end]) | {"status": "failed", "exit_code": 1})
    file.write_text("\n".join(lines))
    with caplog.at_level(logging.WARNING):
        assert age(await ran(engine, jobs())) is None
    assert "differs from the kept answer" in caplog.text
    assert not engine._kept.has_answer(Run(jobs()))


@pytest.mark.anyio
async def test_a_disk_that_fails_costs_only_the_answer(
    engine: LocalEngine, jobs: Jobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(engine._kept._store, "put", full)
    with caplog.at_level(logging.WARNING):
        assert isinstance((await ran(engine, jobs()))[-1], Verdict)
    assert "could not be kept" in caplog.text
    assert not engine._kept.has_answer(Run(jobs()))


@pytest.mark.anyio
async def test_a_worker_elsewhere_keeps_answers_too(
    settings: Settings, taught: Course, found: LocalSetup, jobs: Jobs, open_folder: Path
) -> None:
    if found.isolation.level != "namespaces":
        pytest.skip("answers are only kept at the isolation level namespaces")
    with nats_server() as server:
        inventory = NatsInventory(settings, (taught,), Broker(server.url))
        async with NatsEngine(settings, inventory, _nothing) as web:
            process = await anyio.to_thread.run_sync(
                lambda: WorkerProcess(server.url, open_folder / "worker", PLAYGROUND_KEEP_ANSWERS="1")
            )
            try:
                with anyio.fail_after(60):
                    while not inventory.workers():  # noqa: ASYNC110 - an inventory tells nobody
                        await anyio.sleep(0.02)
                first = await followed(web, await web.submit(jobs(again=True)))
                second = await followed(web, await web.submit(jobs()))
            finally:
                process.kill()
    assert age(first) is None
    assert age(second) is not None
    assert agree(second, first)  # an earlier session's answer may be kept, which differs in its seconds


async def _nothing(_job: JobSpec, _events: Sequence[Event], _verdict: Verdict) -> None:
    """Keep no progress."""
