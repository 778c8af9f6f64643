"""The tracer's report as a sentence, and the real tracer with real programs at each level."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.course import Course
from app.course.lesson import Lesson
from app.engine.local import LocalEngine
from app.protocol.command import parse
from app.protocol.events import Event, Finished, Observed, Output
from app.run.observation import observed
from app.sandbox import IsolationError, detect
from app.settings import Settings
from app.stepper import Trace
from app.toolchain import Toolchain, preferred
from bench.pace import pace
from tests.support.jobs import job as job_of

MACHINE = {"x86_64": "x86-64", "aarch64": "AArch64"}[platform.machine()]
SP = 0x7FFC_0000_1000
ENTRY = 0x5555_0000_1000
RAX, RIP, RSP = 10, 16, 19

HEAD = "#![no_std]\n#![no_main]\n#[panic_handler] fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }\n"
START = '#[no_mangle] pub extern "C" fn _start()'
LOOPS = f"{HEAD}{START} -> ! {{ loop {{}} }}"
RETURNS = f"{HEAD}{START} {{}}"
NAMELESS = f'{HEAD}pub extern "C" fn _start() -> ! {{ loop {{}} }}'
MISALIGNED = f"""{HEAD}use core::arch::asm;
{START} -> ! {{ unsafe {{ asm!("and rsp, -16", "movaps [rsp - 24], xmm0") }} loop {{}} }}"""
AWAY = f'{HEAD}{START} -> ! {{ unsafe {{ core::arch::asm!("br {{}}", in(reg) 4097, options(noreturn)) }} }}'
CALL = f"""{HEAD}use core::arch::asm;
unsafe fn call(on_x86_64: usize, on_aarch64: usize, first: usize) {{
    let _ = (on_x86_64, on_aarch64);
    #[cfg(target_arch = "x86_64")]
    asm!("syscall", inlateout("rax") on_x86_64 => _, in("rdi") first, in("rsi") 0, in("rdx") 0, in("r10") 0,
        out("rcx") _, out("r11") _);
    #[cfg(target_arch = "aarch64")]
    asm!("svc 0", in("x8") on_aarch64, inlateout("x0") first => _, in("x1") 0, in("x2") 0, in("x3") 0);
}}
"""
EXITS = f"{CALL}{START} -> ! {{ unsafe {{ call(39, 172, 0); call(60, 93, 7) }} loop {{}} }}"
FLOODS = (
    f"{HEAD}fn deeper(depth: u64) -> u64 {{ if depth == 0 {{ 0 }} else {{ deeper(depth + 1).wrapping_add(depth) }} }}\n"
)
FLOODS += f"{START} -> ! {{ core::hint::black_box(deeper(core::hint::black_box(1))); loop {{}} }}"
READS = f"""{HEAD}{START} -> ! {{ unsafe {{
    #[cfg(target_arch = "x86_64")]
    core::arch::asm!("mov al, [rdi]", in("rdi") 16_u64, out("al") _);
    #[cfg(target_arch = "aarch64")]
    core::arch::asm!("ldrb {{0:w}}, [{{0}}]", inlateout(reg) 16_u64 => _);
}} loop {{}} }}"""
STOPS = f"""{HEAD}{START} -> ! {{ unsafe {{
    #[cfg(target_arch = "x86_64")]
    core::arch::asm!("ud2");
    #[cfg(target_arch = "aarch64")]
    core::arch::asm!("udf #0");
}} loop {{}} }}"""
WAITS = f"{CALL}{START} -> ! {{ loop {{ unsafe {{ call(271, 73, 0) }} }} }}"
# On AArch64 only without a loader, which leaves its own address in x30, so that a return loops for ever.
ALONE = "-nostartfiles" if MACHINE == "x86-64" else "-nostartfiles -static"
CONFIG = f'[build]\nrustflags = ["-C", "link-args={ALONE}"]\n'


def line(outcome: str = "killed", *, registers: dict[int, int] | None = None, **more: Any) -> bytes:
    values = [0] * 27
    for number, value in (registers or {}).items():
        values[number] = value
    report: dict[str, Any] = {"outcome": outcome, "seconds": 2.0, "cpu_seconds": 1.9, "freestanding": True}
    report |= {"machine": "x86-64", "file_entry": 0x1000}
    report |= {"entry": ENTRY, "reached": True, "entry_sp": SP, "argc": 1, "calls": 0, "named": []}
    return json.dumps(report | {"registers": values if registers else []} | more).encode()


def seen(data: bytes) -> Observed:
    event = observed(data, "target/debug/blog_os")
    assert event
    return event


def test_no_report_or_half_a_report_is_no_event() -> None:
    for data in (b"", b"{", line()[:40], b"[]", b"\xff"):
        assert observed(data, "x") is None


def test_one_place_again_and_again_is_a_loop_and_many_are_work() -> None:
    loops = seen(line("running", state="R", places=[ENTRY + 2] * 64))
    assert (loops.reason, loops.pc) == ("loops", 0x1002)
    assert "no system calls" in loops.detail
    assert seen(line("running", state="R", places=[*range(64)])).reason == "busy"
    assert seen(line("running", state="S")).reason == "waits"


def test_a_return_from_the_entry_point_is_known_by_where_it_led() -> None:
    there = {RIP: 1, RSP: SP + 8}
    assert seen(line(signal=11, code=1, address=1, registers=there)).reason == "returned"
    # The same address with a stack that no return leaves behind means another jump.
    assert seen(line(signal=11, code=1, address=1, registers=there | {RSP: SP})).reason == "jumped-away"


def arm(**more: Any) -> bytes:
    """Return an AArch64 report with these registers; the others are 0."""
    registers = [0] * 34
    for name, value in more.pop("registers").items():
        registers[{"sp": 31, "pc": 32}.get(name) or int(name[1:])] = value
    return json.dumps(json.loads(line(**more)) | {"machine": "AArch64", "registers": registers}).encode()


def test_on_aarch64_a_return_from_the_entry_point_leads_where_x30_began() -> None:
    nowhere: dict[str, Any] = {"signal": 11, "code": 1, "address": 0}
    event = seen(arm(**nowhere, registers={"sp": SP}))
    assert (event.reason, event.pc) == ("returned", 0)
    assert "took the register `x30`, in which a call leaves it, for one, and jumped to 0x0" in event.detail
    # Calling a missing function leaves the call's own address and a lower stack.
    assert seen(arm(**nowhere, registers={"sp": SP, "x30": ENTRY + 4})).reason == "jumped-away"
    assert seen(arm(**nowhere, registers={"sp": SP - 16})).reason == "jumped-away"


def test_on_aarch64_a_noncanonical_address_differs_from_an_unmapped_one() -> None:
    pushed = seen(arm(signal=7, code=1, address=SP - 8, registers={"sp": SP - 8, "pc": ENTRY}, bytes="e00300f9"))
    assert (pushed.reason, pushed.instruction, pushed.address) == ("misaligned", "str x0, [sp]", SP - 8)
    away = seen(arm(signal=7, code=1, address=0x1001, registers={"sp": SP, "pc": 0x1001}))
    assert (away.reason, away.detail) == ("jumped-away", "It jumped to 0x1001, where no instruction can begin.")


def test_on_x86_64_alignment_is_checked_at_any_address_and_only_when_asked_for() -> None:
    fault = seen(line(signal=7, code=1, address=SP + 1, registers={RIP: ENTRY + 1, RSP: SP}))
    assert fault.reason == "misaligned"
    assert "AArch64" not in fault.detail


def test_a_misaligned_operand_is_computed_from_the_registers() -> None:
    movaps = "0f290424ebfe"
    there = {RIP: ENTRY + 9, RSP: SP - 8}
    event = seen(line(signal=11, code=128, registers=there, bytes=movaps))
    assert (event.reason, event.instruction) == ("misaligned", "movaps xmmword ptr [rsp], xmm0")
    assert event.address == SP - 8
    # An aligned stack means a different fault.
    assert seen(line(signal=11, code=128, registers=there | {RSP: SP}, bytes=movaps)).reason == "bad-address"


def test_an_entry_address_of_zero_differs_from_a_jump_to_zero() -> None:
    nowhere: dict[str, Any] = {"signal": 11, "code": 1, "address": 0, "registers": {RIP: 0, RSP: SP}}
    zero = seen(line(entry=0, file_entry=0, reached=False, bytes="cc454c46", **nowhere))
    assert (zero.reason, zero.instruction) == ("entry-zero", None)
    assert seen(line(**nowhere)).reason == "jumped-away"


def test_registers_of_a_strange_number_or_machine_do_no_harm() -> None:
    for machine in ("x86-64", "AArch64", "RISC-V", ""):
        for registers in ([], [1] * 3, [2**64 - 1] * 40):
            report = json.loads(line(signal=11, code=128, bytes="0f290424", address=5))
            event = seen(json.dumps(report | {"registers": registers, "machine": machine}).encode())
            assert event.detail


def test_without_a_tracer_only_the_parents_view_is_reported() -> None:
    blind: dict[str, Any] = {"traced": False, "entry_sp": 0, "reached": False}
    busy = seen(line("running", state="R", **blind))
    assert (busy.reason, busy.system_calls, busy.pc) == ("busy", None, None)
    assert "1.9 of 2.0 seconds of processor time, and waited for nothing" in busy.detail
    assert "waited for nothing" not in seen(line("running", state="R", waits=3, **blind)).detail
    waits = seen(line("running", state="S", waits_in=34, **blind))
    assert "in `read`" in seen(line("running", state="S", waits_in=0, **blind)).detail, "which has the number 0"
    assert waits.reason == "waits"
    assert "in `pause`" in waits.detail
    assert seen(line("exited", exit_code=7, **blind)).reason == "exit"
    for number, reason in ((11, "bad-address"), (4, "bad-instruction"), (15, "other-signal")):
        assert seen(line(signal=number, **blind)).reason == reason
    zero = observed(line(signal=11, **blind), "x", entry=0)
    assert zero
    assert zero.reason == "entry-zero"


UNTRACED = """
import ctypes, os, platform, struct, sys
step = lambda *parts: struct.pack("=HBBI", *parts)
number = {"x86_64": 101, "aarch64": 117}[platform.machine()]
steps = step(0x20, 0, 0, 0) + step(0x15, 0, 1, number) + step(6, 0, 0, 0x00050001) + step(6, 0, 0, 0x7FFF0000)
data = ctypes.create_string_buffer(steps)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 4, ctypes.addressof(data)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, ctypes.c_ulong(1), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) == 0
assert libc.prctl(22, ctypes.c_ulong(2), program) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
"""A program that executes another one with ptrace refused, as in some containers."""


def without_tracing(settings: Settings, *words: str) -> str:
    playground = str(Path(sys.executable).with_name("playground"))
    folders = {"PLAYGROUND_DATA_DIR": str(settings.data_dir), "PLAYGROUND_SCRATCH_DIR": str(settings.scratch_dir)}
    env = os.environ | folders | {"PLAYGROUND_PROGRAM_SECONDS": "0.5"}
    command = [sys.executable, "-c", UNTRACED, playground, *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120).stdout


@pytest.mark.parametrize(
    ("source", "outcome", "reason"),
    [(LOOPS, "running", "busy"), (NAMELESS, "killed", "entry-zero"), (READS, "killed", "bad-address")],
    ids=["loops", "entry-zero", "dies"],
)
def test_where_tracing_is_refused_the_program_is_looked_at(
    settings: Settings, tmp_path: Path, source: str, outcome: str, reason: str
) -> None:
    for path, text in ((".cargo/config.toml", CONFIG), ("src/main.rs", source)):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text)
    words = ("try", "cargo-config", "--dir", str(tmp_path), "--command", "cargo run", "--json")
    events = [json.loads(one) for one in without_tracing(settings, *words).splitlines()]
    [found] = [event for event in events if event["type"] == "observed"]
    assert (found["outcome"], found["reason"], found["system_calls"]) == (outcome, reason, None), found
    if outcome == "running":
        assert 0.1 < found["cpu_seconds"] <= found["seconds"] + 0.1
        assert next(event for event in events if event["type"] == "finished")["seconds"] < 10 * pace()


def test_doctor_says_when_programs_cannot_be_traced(settings: Settings) -> None:
    isolation = json.loads(without_tracing(settings, "doctor", "--json"))["isolation"]
    assert [note for note in isolation["notes"] if "cannot be traced" in note], isolation


@pytest.mark.anyio
async def test_doctor_says_nothing_where_they_can(settings: Settings, toolchains: tuple[Toolchain, ...]) -> None:
    assert not [note for note in (await detect(settings, toolchains)).notes if "traced" in note]


@pytest.fixture(params=["namespaces", "landlock", "none"])
async def engine(request: pytest.FixtureRequest, settings: Settings, taught: Course) -> AsyncIterator[LocalEngine]:
    quick = {"isolation": request.param, "program_seconds": 0.5}
    try:
        async with LocalEngine(settings.model_copy(update=quick), (taught,)) as engine:
            yield engine
    except IsolationError as error:
        pytest.skip(str(error))


class Programs:
    """Runs programs on one engine."""

    def __init__(self, engine: LocalEngine, lesson: Lesson, toolchain: Toolchain) -> None:
        self._engine, self._lesson, self._toolchain = engine, lesson, toolchain
        self.last = ""

    async def run(self, source: str, *, config: str = CONFIG, command: str = "cargo run", **more: Any) -> list[Event]:
        files = {**self._lesson.files, ".cargo/config.toml": config, "src/main.rs": source}
        self.last = await self._engine.submit(job_of(self._lesson, files, parse(command), self._toolchain, **more))
        return [event async for event in self._engine.events(self.last)]

    async def steps(self) -> Trace:
        return await self._engine.steps(self.last)


@pytest.fixture
def programs(engine: LocalEngine, lessons: dict[str, Lesson], toolchains: tuple[Toolchain, ...]) -> Programs:
    toolchain = preferred(engine.inventory.usable(toolchains), None)
    assert toolchain
    return Programs(engine, lessons["cargo-config"], toolchain)


def the(events: list[Event]) -> tuple[Observed, Finished]:
    [found] = [event for event in events if isinstance(event, Observed)]
    [finished] = [event for event in events if isinstance(event, Finished)]
    return found, finished


@pytest.mark.anyio
async def test_a_loop_is_a_result_and_not_a_timeout(programs: Programs) -> None:
    found, finished = the(await programs.run(LOOPS))
    assert (found.outcome, found.reason, found.system_calls) == ("running", "loops", 0)
    assert found.cpu_seconds > 0.01  # of half a second, on a possibly busy machine
    assert (finished.status, finished.exit_code) == ("ok", None)
    assert finished.seconds < 5 * pace()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (RETURNS, "returned"),
        (NAMELESS, "entry-zero"),
        (MISALIGNED, "misaligned") if MACHINE == "x86-64" else (AWAY, "jumped-away"),
        (FLOODS, "stack-overflow"),
        (READS, "bad-address"),
        (STOPS, "bad-instruction"),
    ],
    ids=lambda value: value if value.replace("-", "").isalpha() else "",
)
async def test_each_cause_of_death_has_its_own_reason(programs: Programs, source: str, reason: str) -> None:
    found, finished = the(await programs.run(source))
    assert (found.outcome, found.reason) == ("killed", reason), found
    assert finished.status == "failed"


@pytest.mark.anyio
async def test_system_calls_are_named_and_exit_codes_reported(programs: Programs) -> None:
    found, finished = the(await programs.run(EXITS))
    assert (found.outcome, found.calls, found.exit_code) == ("exited", ("getpid", "exit"), 7)
    assert (finished.status, finished.exit_code) == ("failed", 7)


@pytest.mark.anyio
async def test_a_program_that_waits_is_no_loop(programs: Programs) -> None:
    found, _ = the(await programs.run(WAITS))
    assert (found.outcome, found.reason, found.calls) == ("running", "waits", ("ppoll",))


@pytest.mark.anyio
async def test_a_program_with_the_standard_library_runs_as_long_as_it_needs(programs: Programs) -> None:
    source = """fn main() { std::thread::sleep(std::time::Duration::from_millis(900)); println!("late"); }"""
    events = await programs.run(source, config="")
    found, finished = the(events)
    assert (found.outcome, found.exit_code, found.system_calls) == ("exited", 0, None)
    assert finished.status == "ok"
    assert "late" in "".join(event.text for event in events if isinstance(event, Output))


@pytest.mark.anyio
async def test_what_was_built_can_be_started_by_its_path(programs: Programs) -> None:
    await programs.run(LOOPS, command="cargo build")
    found, _ = the(await programs.run(LOOPS, command="./target/debug/blog_os", after=programs.last))
    assert (found.outcome, found.reason, found.pc) == ("running", "loops", found.pc)
    # A program that a run has started without building it can be stepped through as well.
    trace = await programs.steps()
    assert (trace.machine, trace.end.kind, trace.steps[-1].function) == (MACHINE, "loops", "_start")
