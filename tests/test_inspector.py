"""Reading an artifact at each level, with bounded processor time, in processes that can do nothing else."""

import json
import os
import signal
import struct
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import anyio
import pytest

from app import inspector
from app.binary import BinaryFacts, Card
from app.binary.model import Section, Symbol, Symbols
from app.course import Course
from app.engine.inventory import LocalSetup
from app.engine.local import LocalEngine
from app.inspector import UNKNOWN
from app.sandbox.watch import descendants
from app.settings import Settings
from app.toolchain import Toolchain
from tests.support.inspector import inspecting
from tests.support.polling import eventually_async
from tests.support.programs import card_of, for_windows_with_lines

pytestmark = pytest.mark.anyio
SHELL = Path("/bin/sh").resolve()
FACTS = BinaryFacts("ELF", "x86-64", 4096, "_start", ("libc.so.6",), None, ())


@pytest.mark.parametrize("level", ["namespaces", "landlock", "none"])
async def test_a_card_at_each_level(level: str, settings: Settings) -> None:
    async with inspecting(settings.model_copy(update={"isolation": level})) as reader:
        card = await reader.card_of(SHELL)
        assert card.facts == await reader.facts_of(SHELL)
    assert card.facts.format == "ELF"
    assert card.unread == ()
    assert card.bytes == SHELL.stat().st_size


async def test_a_file_that_never_ends_is_given_up_and_the_next_is_read(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "tables"
    file.write_bytes(many_tables())
    async with inspecting(settings) as reader:
        assert await reader.facts_of(file) == UNKNOWN
        workers = running_workers()
        assert (await reader.facts_of(SHELL)).format == "ELF"
        assert workers <= running_workers(), "only the child has ended"


async def test_the_facts_of_an_elf_file_come_from_a_small_worker(settings: Settings, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.write_bytes(SHELL.read_bytes()[:100])
    others = running_workers()  # a server of earlier tests may have some
    async with inspecting(settings, elf=1) as reader:
        facts = await reader.facts_of(SHELL)
        assert await reader.facts_of(damaged) == UNKNOWN
        assert [command_line(worker).split(b"\0")[-2] for worker in running_workers() - others] == [b"elf"]
        assert 0 < reader.peak_kb < 25_000, "with every library it is 90 MB"
        assert (await reader.card_of(SHELL)).facts == facts


async def test_the_first_file_that_needs_lief_makes_the_worker_import_it(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "program.exe"
    file.write_bytes(b"MZ" + bytes(100))
    others = running_workers()
    async with inspecting(settings, elf=1) as reader:
        await reader.card_of(SHELL)
        [worker] = (one for one in running_workers() - others if not command_line(one).endswith(b"elf\0"))
        before = resident(worker)
        assert before < 50_000_000
        assert await reader.facts_of(file) == UNKNOWN
        assert (await reader.card_of(SHELL)).facts.format == "ELF"
        assert resident(worker) > before + 20_000_000, "the next such file need not import it again"


async def test_an_engine_has_as_many_readers_of_each_kind_as_the_setting_says(
    settings: Settings, taught: Course, found: LocalSetup
) -> None:
    others = running_workers()
    async with LocalEngine(settings.model_copy(update={"artifact_readers": 2}), (taught,), found=found) as engine:
        await engine.warm()
        kinds = Counter(command_line(worker).split(b"\0")[-2] for worker in running_workers() - others)
    assert kinds == {str(inspector.SECONDS).encode(): 2, b"elf": 2}


async def test_a_worker_that_has_gone_is_followed_by_another(settings: Settings) -> None:
    others = running_workers()
    async with inspecting(settings) as reader:
        await reader.warm()
        for worker in running_workers() - others:
            # A reader ends with its worker.
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        assert (await reader.facts_of(SHELL)).format == "ELF"


async def test_a_worker_that_reports_no_number_is_replaced(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    garbling = tmp_path / "garbling.py"
    garbling.write_text(
        "import socket\n"
        "control = socket.socket(fileno=0)\n"
        "control.send(b'0\\n')\n"
        "control.recv(1)\n"
        "control.send(b'many\\n')\n"
        "control.recv(1)\n"
    )
    async with inspecting(settings.model_copy(update={"isolation": "none"})) as reader:
        with monkeypatch.context() as patched:
            patched.setattr(inspector, "_WORKER", garbling)
            assert await reader.facts_of(SHELL) == UNKNOWN
        assert [(await reader.facts_of(SHELL)).format for _ in range(3)] == ["ELF"] * 3
    assert "ValueError" in caplog.text


async def test_a_reader_that_ends_over_a_companion_has_left_the_rest_of_the_card(
    settings: Settings, tmp_path: Path, bare_metal: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = tmp_path / "ending.py"
    ending.write_text(
        "import os, runpy\n"
        f"worker = runpy.run_path({str(inspector._WORKER)!r})\n"
        "from app.binary import pe\n"
        "pe.rows = lambda *_: os._exit(1)\n"
        "worker['main']()\n"
    )
    data, pdb = for_windows_with_lines(bare_metal, tmp_path / "built")
    file, companion = tmp_path / "program", tmp_path / "pdb"
    file.write_bytes(data)
    companion.write_bytes(pdb)
    monkeypatch.setattr(inspector, "_WORKER", ending)
    async with inspecting(settings.model_copy(update={"isolation": "none"})) as reader:
        for _ in range(2):
            assert await reader.card_of(file, [companion]) == replace(card_of(data), unread=("lines",))


async def until_replaced(ended: set[int]) -> None:
    """Wait until as many other readers are there as have ended."""

    def replaced() -> bool:
        now = idle_readers()
        return not ended & now and len(now) == len(ended)

    assert await eventually_async(replaced)


async def test_readers_that_are_ended_before_they_are_asked_are_followed_by_others(settings: Settings) -> None:
    async with inspecting(settings) as reader:
        await reader.warm()
        for _ in range(3):
            ended = idle_readers()
            assert ended
            for one in ended:
                os.kill(one, signal.SIGKILL)
            await until_replaced(ended)
        assert [(await reader.facts_of(SHELL)).format for _ in range(4)] == ["ELF"] * 4


async def test_a_card_that_timed_out_is_not_reported_as_a_damaged_file(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inspecting(settings) as reader:
        with monkeypatch.context() as patched:
            patched.setattr(inspector, "_WAIT", 0.0)
            with pytest.raises(TimeoutError):
                await reader.card_of(SHELL)
            assert await reader.facts_of(SHELL) == UNKNOWN
        assert (await reader.card_of(SHELL)).facts.format == "ELF"
        with pytest.raises(FileNotFoundError):
            await reader.card_of(Path("/nowhere"))


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
def test_the_reader_of_a_file_can_do_nothing_but_read_and_answer() -> None:
    code = """
import ctypes, json, mmap, os, resource, signal, socket, time
from app.inspector.worker import _confine
libc = ctypes.CDLL(None, use_errno=True)
libc.mremap.restype = ctypes.c_void_p
STACK = next(line for line in open("/proc/self/maps") if "[stack]" in line).partition("-")[2].split()[0]
def longer_stack():
    page = ctypes.c_void_p(int(STACK, 16) - 8192)
    if libc.mremap(page, ctypes.c_size_t(4096), ctypes.c_size_t(1 << 23), 1) == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mremap")
tries = {
    "open a file": lambda: open("/etc/hostname"),
    "make a file": lambda: os.mkdir("x"),
    "look at a file": lambda: os.stat("/"),
    "start a process": os.fork,
    "become a program": lambda: os.execv("/bin/true", ["true"]),
    "signal the worker": lambda: os.kill(os.getppid(), 0),
    "limit the worker": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_AS, (1, 1)),
    "slow the worker down": lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 19),
    "make a socket": socket.socket,
    "wait": lambda: time.sleep(0.01),
    "duplicate a descriptor": lambda: os.dup(0),
    "have memory that grows like a stack": lambda: mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | 0x120),
    "make the stack longer": longer_stack,
    "catch the end of its time": lambda: signal.signal(signal.SIGXCPU, signal.SIG_IGN),
}
_confine(2)
found = {}
for name, attempt in tries.items():
    try:
        attempt()
        found[name] = "done"
    except OSError as error:
        found[name] = error.errno
os.write(1, json.dumps(found).encode())
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=30)
    found = json.loads(done.stdout)
    assert len(found) == 14
    assert set(found.values()) == {1}, found


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[" * 100_000,
        json.dumps(asdict(FACTS) | {"entry": "4096"}).encode(),
        json.dumps(asdict(FACTS) | {"entry": -1}).encode(),
        json.dumps(asdict(FACTS) | {"entry": 2**70}).encode(),
        json.dumps(asdict(FACTS) | {"machine": "m" * 2000}).encode(),
        json.dumps(asdict(FACTS) | {"machine": "\u202eturned"}).encode(),
        json.dumps(asdict(FACTS) | {"needed": ["x"] * 2000}).encode(),
        json.dumps({"format": "ELF"}).encode(),
    ],
)
def test_an_answer_that_is_no_such_thing_is_not_taken(answer: bytes) -> None:
    assert inspector._read(inspector._FACTS, answer) is None


def test_an_answer_comes_back_as_it_was() -> None:
    symbols = Symbols(1, 0, (Symbol("_start", 4096, 2),), ("_start",))
    card = Card(FACTS, 4000, (Section(".text", "code", 2, 4096),), symbols, unread=("lines",))
    assert inspector._read(inspector._CARD, json.dumps(asdict(card)).encode()) == card
    forged = asdict(card) | {"sections": [{"name": ".text", "kind": "<b>", "bytes": 2, "address": 0}]}
    assert inspector._read(inspector._CARD, json.dumps(forged).encode()) is None


async def test_an_answer_without_an_end_is_not_kept() -> None:
    source, sink = os.pipe()

    async def write() -> None:
        with suppress(BrokenPipeError):
            while True:
                await anyio.to_thread.run_sync(os.write, sink, b" " * 65_536)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        assert await inspector._read_line(source, 100_000) == b""
        os.close(source)
    os.close(sink)


def running_workers() -> set[int]:
    """Return the inspector workers among our processes, without their children."""
    found = {one for one in descendants(os.getpid()) if b"worker.py" in command_line(one)}
    # The launcher and bubblewrap have it in their arguments, too.
    pythons = {one for one in found if program_of(one) == os.path.realpath(sys.executable)}
    return pythons - {below for one in pythons for below in [*descendants(one)][1:]}


def resident(pid: int) -> int:
    """Return the memory of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def program_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def idle_readers() -> set[int]:
    """Return the workers' children that wait for a file."""
    return {below for one in running_workers() for below in [*descendants(one)][1:]}


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def many_tables(count: int = 10_000, symbols: int = 500_000) -> bytes:
    """Return an ELF file with very many symbol tables that share the same large contents."""
    symbol = struct.pack("<IBBHQQ", 1, 2, 0, 1, 0x2000, 0)
    table, names = 4096, 64
    end = table + symbols * len(symbol)
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x1000, 0, end, 0, 64, 0, 0, 64, 2 * count, 0)
    each = struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, table, end - table, 1, 0, 8, 24)
    each += struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, names, 64, 0, 0, 1, 0)
    return head.ljust(table, b"\0") + symbol * symbols + each * count
