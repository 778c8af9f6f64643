"""Emulated machines inside a run's isolation, with the real QEMU: screen, registers and end."""

import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from app.course import Course
from app.course.lesson import Lesson
from app.engine import JobSpec
from app.engine.local import LocalEngine
from app.protocol.command import parse
from app.protocol.events import Event, Finished, Machine, Output, Screen, Started
from app.run.machine import Monitor, StandIn, report
from app.runfiles import RunFolder
from app.settings import Settings
from app.toolchain import EMULATORS, Toolchain, missing_tools, preferred
from tests.support.jobs import job as job_of
from tests.support.polling import eventually_async

_E = TypeVar("_E", bound=Event)

pytestmark = pytest.mark.anyio

ARM = "qemu-system-arm -M mps2-an386 -kernel target/thumbv7em-none-eabihf/debug/blog_os"

SEMIHOSTING = """
#![no_std]
#![no_main]
use core::{arch::asm, panic::PanicInfo};

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    loop {}
}

#[link_section = ".vector_table"]
#[no_mangle]
pub static RESET: extern "C" fn() -> ! = _start;

fn ask(request: u32, with: *const u32) {
    unsafe { asm!("bkpt 0xAB", inout("r0") request => _, in("r1") with) }
}

#[no_mangle]
pub extern "C" fn _start() -> ! {
    ask(0x04, "not by wire\\n\\0".as_ptr().cast());
    ask(0x20, [0x20026, 7].as_ptr());
    loop {}
}
"""


@pytest.fixture(params=["namespaces", "landlock"])
async def engine(request: pytest.FixtureRequest, settings: Settings, taught: Course) -> AsyncIterator[LocalEngine]:
    if missing_tools(EMULATORS):
        pytest.skip("QEMU is not here; playground setup --all installs it")
    async with LocalEngine(settings.model_copy(update={"isolation": request.param}), (taught,)) as engine:
        yield engine


@pytest.fixture
def arm(toolchains: tuple[Toolchain, ...]) -> Toolchain:
    chosen = preferred(toolchains, "thumbv7em-none-eabihf")
    assert chosen
    return chosen


async def boot(engine: LocalEngine, job: JobSpec) -> list[Event]:
    return [event async for event in engine.events(await engine.submit(job))]


def the(kind: type[_E], events: list[Event]) -> _E:
    [found] = [event for event in events if isinstance(event, kind)]
    return found


def printed(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Output))


async def test_the_posts_own_arm_binary_locks_up_in_qemus_own_words(
    engine: LocalEngine, lessons: dict[str, Lesson], arm: Toolchain
) -> None:
    lesson = lessons["bare-metal"]
    built = await engine.submit(job_of(lesson, lesson.files, parse("cargo build --target thumbv7em-none-eabihf"), arm))
    assert the(Finished, [event async for event in engine.events(built)]).status == "ok"
    events = await boot(engine, job_of(lesson, lesson.files, parse(ARM), arm, after=built))
    assert the(Started, events).argv[0] == "qemu-system-arm"
    assert "Lockup: can't escalate 3 to HardFault" in printed(events)
    machine = the(Machine, events)
    assert machine.ended == "lockup"
    assert "vector table" in machine.meaning
    assert "R15=00000000" in machine.registers
    assert the(Finished, events).status == "failed"
    assert [event.type for event in events[-3:]] == ["machine", "finished", "verdict"]


async def test_a_kernel_that_runs_for_ever_is_a_success_and_prints_as_it_runs(
    engine: LocalEngine, lessons: dict[str, Lesson], arm: Toolchain
) -> None:
    lesson = lessons["boot-arm-uart"]
    seen: list[str] = []
    text = ""
    with anyio.fail_after(60):
        async for event in engine.events(await engine.submit(job_of(lesson, lesson.solution, parse("cargo run"), arm))):
            if isinstance(event, Output):
                text += event.text
            if "Hello" in text and not seen:
                seen.append("hello")
            if isinstance(event, Machine):
                seen.append(event.ended)
                assert event.seconds >= 3
                assert "R15=" in event.registers
            if isinstance(event, Finished):
                assert (event.status, event.exit_code) == ("ok", 0)
    assert seen == ["hello", "time"]


async def test_what_a_kernel_says_and_how_it_ends_by_semihosting_comes_out(
    engine: LocalEngine, lessons: dict[str, Lesson], arm: Toolchain
) -> None:
    lesson = lessons["boot-arm"]
    crate = {**lesson.files, **lesson.solution}
    crate["src/main.rs"] = SEMIHOSTING
    crate[".cargo/config.toml"] = crate[".cargo/config.toml"].replace("-serial", "-semihosting -serial")
    assert "-semihosting" in crate[".cargo/config.toml"]
    events = await boot(engine, job_of(lesson, crate, parse("cargo run"), arm))
    assert "not by wire" in printed(events)
    assert the(Machine, events).ended == "exited"
    assert the(Finished, events).exit_code == 7


async def test_a_machine_that_sleeps_for_good_is_not_waited_for(
    engine: LocalEngine, lessons: dict[str, Lesson], arm: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = StandIn.env
    # On a busy machine, the emulator may not have started within the usual three seconds.
    monkeypatch.setattr(StandIn, "env", lambda self, *given: env(replace(self, seconds=15.0), *given))
    lesson = lessons["boot-arm"]
    source = lesson.solution["src/main.rs"].replace(
        "    loop {}\n}\n", '    loop { unsafe { core::arch::asm!("wfi") } }\n}\n'
    )
    events = await boot(engine, job_of(lesson, {**lesson.solution, "src/main.rs": source}, parse("cargo run"), arm))
    machine = the(Machine, events)
    assert machine.ended == "halted"
    assert machine.seconds < 15
    assert the(Finished, events).status == "ok"


async def test_a_kernel_that_ends_the_emulator_is_not_given_the_firmwares_registers(
    engine: LocalEngine, lessons: dict[str, Lesson], toolchains: tuple[Toolchain, ...]
) -> None:
    lesson = lessons["boot-x86"]
    toolchain = preferred(toolchains, lesson.target)
    assert toolchain
    machine = the(Machine, await boot(engine, job_of(lesson, lesson.solution, parse("cargo run"), toolchain)))
    assert machine.ended == "exited"
    # The firmware runs in 16-bit mode. QEMU 7 allows no inspection at the end.
    assert "EIP=" not in machine.registers


async def test_a_learner_cannot_reach_beyond_the_crate_with_an_emulator(
    engine: LocalEngine, lessons: dict[str, Lesson], arm: Toolchain
) -> None:
    lesson = lessons["boot-arm"]
    name = ".cargo/config.toml"
    hostile = "-drive file=/etc/passwd,format=raw,if=none -serial tcp:127.0.0.1:80"
    config = lesson.files[name].replace("-serial stdio", hostile)
    events = await boot(engine, job_of(lesson, {**lesson.solution, name: config}, parse("cargo run"), arm))
    assert the(Machine, events).ended == "refused"
    assert "/etc/passwd" in printed(events)
    assert "root:" not in printed(events)


def described(**changes: object) -> bytes:
    whole = {
        "emulator": "qemu-system-x86_64",
        "ended": None,
        "code": None,
        "signal": None,
        "seconds": 0.5,
        "said": "",
        "screen": None,
        "registers": None,
    }
    return json.dumps(whole | changes).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[" * 10_000,
        described(ended="well"),
        described(code=10**4000),
        described(seconds=-1.0),
        described(seconds=float("nan")),
        described(emulator="<script>"),
        described(screen="07" * 3999),
        described(screen="zz" * 4000),
        described(registers="x" * 9000),
        described(more=1),
    ],
)
def test_a_file_of_another_shape_is_ignored(data: bytes) -> None:
    assert report.parse(data) is None


def test_a_screen_is_text_and_colours() -> None:
    cells = b"H\x1ei\x4f\x01\x07" + b" \x07" * (80 * 25 - 3)
    parsed = report.parse(described(screen=cells.hex()))
    assert parsed
    screen = report.screen(parsed)
    assert screen
    assert (screen.columns, screen.rows, len(screen.text), len(screen.text[0])) == (80, 25, 25, 80)
    assert screen.text[0].rstrip() == "Hi☺"
    assert screen.colors[0][:6] == "1e4f07"
    assert {len(row) for row in screen.colors} == {160}


def test_an_empty_screen_is_none() -> None:
    parsed = report.parse(described(screen="0007" * 2000))
    assert parsed
    assert report.screen(parsed) is None


@pytest.mark.parametrize(
    ("changes", "ended", "exit_code"),
    [
        ({"ended": "exited", "code": 33}, "exited", 33),
        ({"ended": "exited", "code": 1}, "exited", 1),
        (
            {"ended": "exited", "code": 1, "said": "qemu-system-x86_64: Error loading uncompressed kernel"},
            "refused",
            None,
        ),
        ({"ended": "exited", "code": 1, "said": "qemu: could not open kernel file 'x'"}, "refused", None),
        ({"ended": "exited", "signal": 6, "said": "qemu: fatal: Lockup: can't"}, "lockup", None),
        ({"ended": "exited", "signal": 11}, "crashed", None),
        ({"ended": "reset", "code": 0}, "reset", None),
    ],
)
def test_how_a_machine_ended(changes: dict[str, object], ended: str, exit_code: int | None) -> None:
    parsed = report.parse(described(**changes))
    assert parsed
    machine = report.machine(parsed)
    assert machine
    assert (machine.ended, machine.exit_code) == (ended, exit_code)
    assert machine.meaning


async def test_a_description_is_read_from_the_runs_own_folder_only(tmp_path: Path) -> None:
    told: list[Event] = []
    elsewhere, home = tmp_path / "elsewhere", tmp_path / "home"
    elsewhere.mkdir()
    home.mkdir()
    (elsewhere / "machine.json").write_bytes(described(ended="off"))
    with RunFolder(tmp_path).open() as folder:
        monitor = Monitor(folder, "home", told.append)
        (home / "machine.json").symlink_to(elsewhere / "machine.json")
        await monitor.end()
        # The run replaces the folder by a link while it is going on.
        home.rename(tmp_path / "away")
        home.symlink_to(elsewhere)
        await monitor.end()
        home.unlink()
        home.mkdir()
        os.mkfifo(home / "machine.json")
        await monitor.end()
        (home / "machine.json").unlink()
        os.link(elsewhere / "machine.json", home / "machine.json")
        await monitor.end()
        assert told == []
        (home / "machine.json").unlink()
        (home / "machine.json").write_bytes(described(ended="off"))
        await monitor.end()
    assert [event.type for event in told] == ["machine"], "it can be read when it is a plain file"


async def until_told(told: list[Event], count: int) -> None:
    """Wait for so many events."""
    assert await eventually_async(lambda: len(told) >= count)


async def test_a_changed_screen_becomes_an_event(tmp_path: Path) -> None:
    told: list[Event] = []
    (tmp_path / "home").mkdir()
    with RunFolder(tmp_path).open() as folder:
        monitor = Monitor(folder, "home", told.append)
        async with monitor.following():
            for letter, events in (("a", 1), ("a", 1), ("b", 2)):
                draft = tmp_path / "new"
                draft.write_bytes(described(screen=(letter.encode() + b"\x07" + b" \x07" * 1999).hex()))
                draft.rename(tmp_path / "home/machine.json")
                await anyio.sleep(0.25)
                await until_told(told, events)
        (tmp_path / "home/machine.json").write_bytes(described(ended="halted"))
        await monitor.end()
    assert [event.text[0].rstrip() if isinstance(event, Screen) else event.type for event in told] == [
        "a",
        "b",
        "machine",
    ]
