"""Executing small programs step by step: the states, the refusals, and harmless hostile programs."""

import io
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from app import stepper
from app.course import Course
from app.course.lesson import Lesson
from app.engine.local import LocalEngine
from app.protocol.command import parse
from app.sandbox import Box, IsolationError, detect
from app.settings import Settings
from app.stepper import NotSteppedError, Trace
from app.stepper.emulator.trace import trace
from app.toolchain import Toolchain, preferred
from app.web.steps import step_view
from tests.support.damage import damaged, damages
from tests.support.environment import within
from tests.support.jobs import job as job_of
from tests.support.programs import BARE, compile_with

pytestmark = pytest.mark.anyio
ENTRY = 0x401000
X86, THUMB, AARCH64 = 62, 40, 183


def elf(code: bytes, *, machine: int = X86, size: int | None = None, entry: int = ENTRY, kind: int = 2) -> bytes:
    """Return an ELF file with one readable, writable and executable segment of ``size`` bytes in memory."""
    small = machine == THUMB
    head = b"\x7fELF" + bytes([1 if small else 2, 1, 1]) + bytes(9)
    length = len(code) if size is None else size
    if small:
        head += struct.pack("<HHIIIIIHHHHHH", kind, machine, 1, entry, 52, 0, 0, 52, 32, 1, 0, 0, 0)
        head += struct.pack("<IIIIIIII", 1, 0x1000, ENTRY, ENTRY, len(code), length, 7, 0x1000)
    else:
        head += struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        head += struct.pack("<IIQQQQQQ", 1, 7, 0x1000, ENTRY, ENTRY, len(code), length, 0x1000)
    return head.ljust(0x1000, b"\0") + code


@pytest.fixture(params=["namespaces", "landlock"])
async def engine(request: pytest.FixtureRequest, settings: Settings, taught: Course) -> AsyncIterator[LocalEngine]:
    try:
        async with LocalEngine(settings.model_copy(update={"isolation": request.param}), (taught,)) as engine:
            yield engine
    except IsolationError as error:
        pytest.skip(str(error))


async def traced(engine: LocalEngine, tmp_path: Path, data: bytes) -> Trace:
    program = tmp_path / "program"
    program.write_bytes(data)
    return await engine._steps.of(str(time.monotonic_ns()), program, "")


async def test_each_processor_loops_where_its_jump_says(engine: LocalEngine, tmp_path: Path) -> None:
    for machine, code, entry, name in (
        (X86, "50ebfe", ENTRY, "x86-64"),
        (THUMB, "00bffee7", ENTRY + 1, "ARM"),
        (AARCH64, "1f2003d500000014", ENTRY, "AArch64"),
    ):
        found = await traced(engine, tmp_path, elf(bytes.fromhex(code), machine=machine, entry=entry))
        assert (found.machine, found.end.kind, found.end.back_to) == (name, "loops", 1)
        assert found.steps[0].address == ENTRY
        assert len(found.steps) == 2


async def test_registers_memory_output_and_exit_code_are_reported(engine: LocalEngine, tmp_path: Path) -> None:
    code = "b801000000 bf01000000 488d350f000000 ba02000000 0f05 6a07 5f b83c000000 0f05".replace(" ", "")
    data = bytes.fromhex(code)
    data = data.replace(bytes.fromhex("0f000000"), struct.pack("<i", len(data) - 17)) + b"hi"
    found = await traced(engine, tmp_path, elf(data))
    assert [step.output for step in found.steps if step.output] == ["hi"]
    pushed = next(step for step in found.steps if step.written)
    assert pushed.written[0][1:] == (8, "0x7")
    assert pushed.stack[0][1] == "0x7"
    assert (found.end.kind, found.end.text) == ("exit", "The program asks the system to end it, with exit code 7.")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("c3", "sent to 0x1"),
        ("0f29442408", "a multiple of 16"),
        ("8b042510000000", "reads 0x10"),
        ("0f0b", "`ud2`"),
        ("f4", "Only the kernel may execute"),
        ("48b80000000000010000ffe0", "sent to 0x10000000000"),
    ],
)
async def test_a_fault_is_described_in_words(engine: LocalEngine, tmp_path: Path, code: str, says: str) -> None:
    found = await traced(engine, tmp_path, elf(bytes.fromhex(code)))
    assert found.end.kind == "fault"
    assert says in found.end.text


async def test_counting_is_no_loop_and_ends_at_the_bound(engine: LocalEngine, tmp_path: Path) -> None:
    found = await traced(engine, tmp_path, elf(bytes.fromhex("48ffc0ebfb")))
    assert (found.end.kind, len(found.steps)) == ("more", 300)
    # This holds even if only a hidden register changes: addss xmm0, xmm1 with a value in xmm1.
    counting = "b80000803f 660f6ec8 f30f58c1 ebfa".replace(" ", "")
    assert (await traced(engine, tmp_path, elf(bytes.fromhex(counting)))).end.kind == "more"


async def test_hostile_files_are_refused_or_bounded(engine: LocalEngine, tmp_path: Path) -> None:
    endless = bytes.fromhex("48b9ffffffffffffff7f 488d3d00000000 f3aa".replace(" ", ""))
    for data in (
        elf(b"\xeb\xfe", size=2**40),
        elf(b"\xeb\xfe", size=17 * 1024 * 1024),
        elf(b"\xeb\xfe", entry=0),
        elf(b"\xeb\xfe", machine=8),
        b"",
        b"\x7fELF",
        elf(b"\xeb\xfe")[:100],
    ):
        with pytest.raises(NotSteppedError) as refused:
            await traced(engine, tmp_path, data)
        assert str(refused.value).endswith(".")
    began = time.monotonic()
    found = await traced(engine, tmp_path, elf(endless, size=16 * 1024 * 1024))
    assert found.end.kind in ("fault", "more", "loops")
    assert within(8, began)


@how(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    code=st.binary(min_size=1, max_size=24),
    flips=st.lists(st.tuples(st.integers(4, 119), st.integers(0, 255)), max_size=4),
)
def test_any_code_and_any_damage_ends_in_a_trace_or_a_sentence(code: bytes, flips: list[tuple[int, int]]) -> None:
    # Run in this process, where a crash shows and each file is faster than in the sandbox.
    data = bytearray(elf(code))
    for at, value in flips:
        data[at] = value
    try:
        found = trace(io.BytesIO(bytes(data)), 20)
    except Exception:  # main() turns it into a refusal; the libraries raise many kinds of errors
        return
    Trace.model_validate(found)


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as opened:
        yield opened


@pytest.fixture(scope="module")
def box(portal: BlockingPortal, shipped: Settings, toolchains: tuple[Toolchain, ...]) -> Iterator[Box]:
    isolation = portal.call(detect, shipped, toolchains)
    with isolation.slots(1) as boxes:
        yield boxes[0]


@pytest.fixture(scope="module")
def built(bare_metal: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """The post's program for the host and for bare metal, with debug information."""
    flags = ("-g", "-Cpanic=abort")
    host = compile_with(
        bare_metal, tmp_path_factory.mktemp("host"), BARE % "_start", *flags, "-Clink-arg=-nostartfiles"
    )
    board = (*flags, "--target", "thumbv7em-none-eabihf")
    return host, compile_with(bare_metal, tmp_path_factory.mktemp("board"), BARE % "_start", *board)


@how(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.sampled_from((0, 1)), damage=damages())
def test_a_mutated_program_ends_in_time_and_within_its_memory(
    portal: BlockingPortal,
    box: Box,
    built: tuple[bytes, bytes],
    open_folder: Path,
    which: int,
    damage: list[tuple[str, float, int, int]],
) -> None:
    root = open_folder / str(time.monotonic_ns())
    root.mkdir(mode=0o700)
    (root / "program").write_bytes(damaged(built[which], damage))
    began = time.monotonic()
    with suppress(NotSteppedError):
        assert len(portal.call(stepper.trace, box, root).steps) <= stepper.MOST_STEPS
    # Its box allows two seconds of processor time and 200 MB; a busy machine takes longer.
    assert within(stepper._SECONDS + 2, began)
    assert (stepper._CPU_SECONDS, stepper._MEMORY) == (2.0, 200_000_000)


async def test_the_loop_of_start_is_found_with_its_line(
    engine: LocalEngine, lessons: dict[str, Lesson], toolchains: tuple[Toolchain, ...]
) -> None:
    lesson = lessons["bare-metal"]
    toolchain = preferred(engine.inventory.usable(toolchains), lesson.target)
    assert toolchain
    job = job_of(lesson, lesson.solution, parse("cargo build --target thumbv7em-none-eabihf"), toolchain)
    run_id = await engine.submit(job)
    async for _ in engine.events(run_id):
        pass
    found = await engine.steps(run_id)
    last = found.steps[-1]
    assert (found.machine, found.end.kind, last.function, last.file) == ("ARM", "loops", "_start", "src/main.rs")
    assert last.instruction == f"b #{last.address:#x}"
    shown = step_view(found, 99, job.files)
    assert (shown.number, shown.on, shown.loops) == (len(found.steps) - 1, found.end.back_to, True)
    assert [line.text for line in shown.lines if line.here] == ["    loop {}"]
    assert step_view(found, 0, job.files).back is None
