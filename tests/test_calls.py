"""The table of system calls covers this machine's kernel headers, and a run gets the results it lists."""

import errno
import json
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from app import sandbox
from app.sandbox import detect, for_python, process, python_folders
from app.settings import Settings
from app.toolchain import Toolchain

pytestmark = pytest.mark.anyio
LEVELS = ("namespaces", "landlock")
MACHINES = ("x86_64", "aarch64")
SOURCES = Path(sandbox.__file__).parent
CONSTANT = {"answered": 0, "EPERM": errno.EPERM, "ENOSYS": errno.ENOSYS, "EOPNOTSUPP": errno.EOPNOTSUPP}
REFUSING = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP)
ANY = -1
EVERY = (ANY,) * 6
"""Arguments that match no descriptor, address, process or known command."""
HIGH = 1 << 32


@dataclass(frozen=True)
class Call:
    """A line of ``calls.txt`` with the heading above it."""

    name: str
    numbers: tuple[int | None, ...]
    verdict: str
    reason: str

    @property
    def number(self) -> int | None:
        """The call's number on this machine."""
        return self.numbers[MACHINES.index(platform.machine())]


def table() -> dict[str, Call]:
    """Return the calls by name, checking that each has one line."""
    found: dict[str, Call] = {}
    verdict = reason = ""
    for line in (SOURCES / "calls.txt").read_text().splitlines():
        if line.startswith("    "):
            name, *numbers = line.split()
            assert name not in found, f"{name} stands there twice"
            found[name] = Call(name, tuple(int(one) if one.isdigit() else None for one in numbers), verdict, reason)
        elif line and not line.startswith("#"):
            verdict, _, reason = line.partition(" ")
    return found


CALLS = table()
BY_ARGUMENT = {call.name for call in CALLS.values() if call.verdict not in (*CONSTANT, "allowed")}

ARGUMENTS: tuple[tuple[str, tuple[int, ...], int | None], ...] = (
    ("fcntl", (1, 1024, 1), errno.EINVAL),
    ("fcntl", (1, HIGH | 1024, 1), errno.EINVAL),
    ("fcntl", (1, 1025), errno.EINVAL),
    ("fcntl", (1, 1026, 1), errno.EINVAL),
    ("fcntl", (1, 8, 1), errno.EINVAL),
    ("fcntl", (1, 10, 29), errno.EINVAL),
    ("fcntl", (1, 15, 0), errno.EINVAL),
    ("fcntl", (1, 1031, 1 << 20), errno.EINVAL),
    ("fcntl", (1, 1033, 0), errno.EINVAL),
    ("fcntl", (1, 1036, 0), errno.EINVAL),
    ("fcntl", (1, 3), None),
    ("fcntl", (1, HIGH | 3), None),
    ("ioctl", (1, 0x5452, ANY), errno.ENOTTY),
    ("ioctl", (1, 0x8901, ANY), errno.ENOTTY),
    ("ioctl", (1, 0x4008_6602, ANY), errno.ENOTTY),
    ("ioctl", (1, 0x5421, ANY), errno.EFAULT),
    ("prctl", (4, 1), errno.EINVAL),
    ("prctl", (22, 2, 0), errno.EINVAL),
    ("prctl", (36, 1), errno.EINVAL),
    ("prctl", (62, 1), errno.EINVAL),
    ("prctl", (39, 0, 0, 0, 0), None),
    ("madvise", (0, 0, 20), errno.EINVAL),
    ("madvise", (0, 0, 21), errno.EINVAL),
    ("madvise", (0, 0, HIGH | 12), errno.EINVAL),
    ("madvise", (0, 0, 4), None),
    ("mmap", (0, 4096, 3, 0x4_0022, ANY, 0), errno.EPERM),
    ("mmap", (0, 4096, 3, 0x21, ANY, 0), errno.EPERM),
    ("mmap", (0, 4096, 3, 0x22, ANY, 0), None),
    ("prlimit64", (1, 7, 0, 0), errno.EPERM),
    ("prlimit64", (0, 7, 0, 0), None),
    ("prlimit64", (0, 7, ANY, 0), errno.EFAULT),
    ("prlimit64", (0, 4, 0, 0), None),
    ("prlimit64", (0, 4, ANY, 0), errno.EPERM),
    ("prlimit64", (0, 4, HIGH, 0), errno.EPERM),
    ("setrlimit", (4, ANY), errno.EPERM),
    ("setrlimit", (7, ANY), errno.EFAULT),
    ("socketpair", (1, 2, 0, ANY), errno.EPERM),
    ("socketpair", (2, 1, 0, ANY), errno.EPERM),
    ("socketpair", (1, 1, 0, ANY), errno.EFAULT),
    ("socketpair", (1, 0o2004005, 0, ANY), errno.EFAULT),
    ("sendto", (ANY, 0, 0, 0, 1, 0), errno.EPERM),
    ("sendto", (ANY, 0, 0, 0, HIGH, 0), errno.EPERM),
    ("sendto", (ANY, 0, 0, 0, 0, 0), errno.EBADF),
    ("setsockopt", (ANY, 1, 26, 0, 0), errno.ENOPROTOOPT),
    ("setsockopt", (ANY, 6, 20, 0, 0), errno.ENOPROTOOPT),
    ("setsockopt", (ANY, 1, 20, 0, 0), errno.EBADF),
    ("open", (ANY, 0o1000), errno.EPERM),
    ("open", (ANY, 0o4010001), errno.EPERM),
    ("open", (ANY, 0o1001), errno.EFAULT),
    ("openat", (ANY, ANY, 0o1000), errno.EPERM),
    ("openat", (ANY, ANY, 0o10002), errno.EPERM),
    ("openat", (ANY, ANY, 0), errno.EFAULT),
    ("close_range", (5000, 5001, 2), errno.EPERM),
    ("close_range", (5000, 5001, 0), None),
    ("clone", (0x1000_0000,), errno.EPERM),
    ("clone", (0x1_0900,), errno.EPERM),
)
"""Calls that the filter decides by an argument: the arguments and the expected error."""

TRIES = """if True:
    import ctypes, json, os, signal, sys
    libc = ctypes.CDLL(None, use_errno=True)

    def error(number, arguments):
        ctypes.set_errno(0)
        done = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
        return ctypes.get_errno() if done == -1 else 0

    def error_of_a_child(number, arguments):
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            os.write(theirs, b"%d;" % error(number, arguments))
            os._exit(0)
        os.close(theirs)
        told = os.read(ours, 100).partition(b";")[0]
        os.close(ours)
        os.waitpid(child, 0)
        return int(told) if told else None

    calls = json.loads(sys.stdin.read())
    print(json.dumps([(error_of_a_child if apart else error)(number, rest) for number, rest, apart in calls]))
"""
"""A program that makes each call and prints the error number, 0 for success.

Calls that may end, block or fork the program run in a child."""


async def tried(level: str, settings: Settings, folder: Path, toolchains: tuple[Toolchain, ...], calls: str) -> str:
    """Return what a program in the sandbox prints about these calls."""
    isolation = await detect(settings.model_copy(update={"isolation": level}), toolchains)
    root = folder / "run"
    root.mkdir()
    (root / "calls").write_text(calls)
    box = for_python(isolation.box, python_folders())
    box.own(root)
    argv = [sys.executable, "-I", "-c", TRIES.replace("sys.stdin", "open('calls')")]
    async with process(box, argv, root, root, {}, python_folders()) as child:
        assert child.process.stdout
        said = b"".join([data async for data in child.process.stdout])
        await child.process.wait()
    return said.decode()


def numbers(include: str, *defines: str) -> dict[str, int]:
    """Return the calls that a header of this machine defines."""
    text = "\n".join([*(f"#define {name}" for name in defines), f"#include <{include}>"])
    done = subprocess.run(["cc", "-E", "-dM", "-"], input=text, capture_output=True, text=True, check=True)
    known: dict[str, str] = dict(re.findall(r"^#define (__NR\w*) (\w+)$", done.stdout, re.MULTILINE))
    found = {}
    for name, value in known.items():
        number = known.get(value, value)
        if name.startswith("__NR_") and number.isdigit():
            found[name.removeprefix("__NR_")] = int(number)
    # The number of all calls, and the start of the architecture's own calls.
    return {name: number for name, number in found.items() if name not in ("syscalls", "arch_specific_syscall")}


def test_every_line_has_a_reason_and_unique_numbers() -> None:
    assert len(CALLS) > 350
    for machine in range(len(MACHINES)):
        taken = [call.numbers[machine] for call in CALLS.values() if call.numbers[machine] is not None]
        assert len(taken) == len(set(taken))
    for call in CALLS.values():
        assert len(call.numbers) == len(MACHINES), call
        assert re.match(r"[A-Z].{15,}\.", call.reason), call


def test_every_call_that_the_headers_of_this_machine_know_has_a_line() -> None:
    generic = ("__ARCH_WANT_RENAMEAT", "__ARCH_WANT_NEW_STAT", "__ARCH_WANT_SET_GET_RLIMIT", "__ARCH_WANT_MEMFD_SECRET")
    here = platform.machine()
    for machine, known in (
        (here, numbers("asm/unistd.h")),
        ("aarch64", numbers("asm-generic/unistd.h", "__BITS_PER_LONG 64", *generic, "__ARCH_WANT_SYS_CLONE3")),
    ):
        assert len(known) > 250
        column = MACHINES.index(machine)
        lines = {name: call.numbers[column] for name, call in CALLS.items() if name in known}
        assert lines == known


def test_every_filter_is_tried() -> None:
    assert {name for name, _, _ in ARGUMENTS} == BY_ARGUMENT


@pytest.mark.parametrize("level", LEVELS)
async def test_a_run_gets_what_the_table_says(
    level: str, settings: Settings, open_folder: Path, toolchains: tuple[Toolchain, ...]
) -> None:
    known = {call.name: call.number for call in CALLS.values() if call.number is not None}
    last = max(known.values())
    unknown = [*range(last + 1, last + 100), *range(512, 548), 0x4000_0000, 0x4000_0001, 0x4000_0029, 0x7FFF_FFFF]
    by_argument = [one for one in ARGUMENTS if one[0] in known]
    calls = [
        *((number, EVERY, CALLS[name].verdict == "allowed") for name, number in known.items()),
        *((number, EVERY, False) for number in unknown),
        *((known[name], arguments, False) for name, arguments, _ in by_argument),
    ]
    answers = json.loads(await tried(level, settings, open_folder, toolchains, json.dumps(calls)))
    assert len(answers) == len(calls)

    of_known = dict(zip(known, answers, strict=False))
    expected = {name: CONSTANT[CALLS[name].verdict] for name in known if CALLS[name].verdict in CONSTANT}
    assert {name: of_known[name] for name in expected} == expected
    of_unknown = answers[len(known) : len(known) + len(unknown)]
    assert set(of_unknown) == {errno.ENOSYS}
    decided = [
        (*one[:2], answer or None) for one, answer in zip(by_argument, answers[-len(by_argument) :], strict=True)
    ]
    assert decided == by_argument

    # An allowed call fails as it does outside. A kernel older than the table may lack it, too.
    fails = {name: error for name, error in of_known.items() if CALLS[name].verdict == "allowed" and error in REFUSING}
    outside = await anyio.run_process(
        [sys.executable, "-I", "-c", TRIES],
        input=json.dumps([(known[name], EVERY, True) for name in fails]).encode(),
    )
    assert dict(zip(fails, json.loads(outside.stdout), strict=True)) == fails
