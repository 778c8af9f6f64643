"""``python -I -B worker.py CPU_SECONDS [elf]``: read untrusted files that the server sends over the socket at stdin.

The worker runs in a box and imports the readers once: with ``elf`` only what the facts of an ELF file need, because
each page of memory that a forked child uses costs it time. A child, forked in advance, reads each file. It may only
read that file, use memory and write an answer: it cannot open files, start processes, send signals or wait. The effects
of a hostile file end with the child, because the worker never reads the file or the answer. Only the first file that
needs LIEF makes the child, and then the worker, import it.

A message is one byte, ``f`` for facts, ``c`` for a card or ``s`` for the facts of a crate, with descriptors: the file
(for a crate, a JSON object from paths to texts), a pipe for the answer and, for a card, the companion files that hold
its source lines. The answer is one line with a JSON object, or nothing. If there are companions, a card without lines
and a separator come first, because the companions may end the child. When a child is gone and the next one is ready,
the worker sends one line: the peak memory of its children so far, in KB.
"""

import ctypes
import gc
import json
import os
import platform
import resource
import socket
import struct
import sys
import time
import types
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

# Stand-ins for two packages, which would import the server's libraries; the folder above may be unreadable here.
for _name in ("app", "app.course"):
    _package = types.ModuleType(_name)
    _package.__path__ = [str(Path(__file__).parents[1].joinpath(*_name.split(".")[1:]))]
    sys.modules.setdefault(_name, _package)

from app.binary import NotABinaryError, elf_facts  # noqa: E402 - needs the stand-ins

_PART_SECONDS = 0.2
"""The processor time after which no further part of a card is begun, so that a partial card is ready in time."""
_ADDRESSES = 512 * 1024 * 1024
_DATA = 160 * 1024 * 1024
"""The limit for a child's private memory. With the libraries, which all children share, it is below 200 MB."""

# mmap; read, write, lseek, pread64; mprotect, munmap, madvise, brk; clock_gettime; exit, exit_group
_ALLOWED = {
    "x86_64": (0xC000003E, 202, 9, (0, 1, 8, 17, 10, 11, 28, 12, 228, 60, 231)),
    "aarch64": (0xC00000B7, 98, 222, (63, 64, 62, 67, 226, 215, 233, 214, 113, 93, 94)),
}
"""The audit number of the architecture, the numbers of futex and mmap, and the other system calls that are allowed.

futex may only wake. mmap may not make mappings that grow like a stack, which the limit on memory does not count; for
the same reason mremap is not allowed. No allowed call waits, so a child that does not end uses up its processor time.
"""
_LOAD, _AND, _EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_NUMBER, _ARCHITECTURE, _SECOND, _FOURTH = 0, 4, 24, 40
_COMMAND, _WAKE, _GROWS_DOWN = 0x7F, 1, 0x100
_ALLOW, _KILL, _EPERM = 0x7FFF0000, 0x80000000, 0x00050001
_SET_SECCOMP, _SET_NO_NEW_PRIVILEGES, _FILTER = 22, 38, 2
_MANGLED = ("_ZN4core3fmt5WriteE", "_RNvC4core3fmt")
"""One name of each kind of mangling, because the demangler imports its parts when it first needs them."""
_MOST_FILES = 16
_HARMLESS = "/bin/sh"
_CLOSED = 3
"""The exit code of a child that finds the socket closed, because the server is gone."""
_GROWN = 4
"""The exit code of a child whose file needed LIEF. A hostile file can cause it too; an import is all that it gets."""


class _Program(ctypes.Structure):
    """The kernel's ``sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def main() -> None:
    """Answer messages until the other end of the socket is closed."""
    seconds, only_elf = int(sys.argv[1]), sys.argv[2:] == ["elf"]
    control = socket.socket(fileno=0)
    read = _Elf() if only_elf else _Everything()
    read.try_out()
    peak, code = 0, _GROWN
    while code != _CLOSED:
        if code == _GROWN:
            gc.collect()
            gc.freeze()
        child = os.fork()
        if child == 0:
            _serve(control, seconds, read)
        control.send(b"%d\n" % peak)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == _GROWN:
            read.grow()
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # A normal exit would let LIEF's bindings print the objects that they still hold.
    os._exit(0)


def _serve(control: socket.socket, seconds: int, read: "_Elf | _Everything") -> None:
    """Wait for one message, answer it, and exit."""
    status = 1
    try:
        read.prepare()
        message, descriptors, _, _ = socket.recv_fds(control, 1, _MOST_FILES)
        status = 0 if message else _CLOSED
        if message:
            opened, *companions = _opened(descriptors)
            if read.needs_lief(message, opened):
                read.grow()
                status = _GROWN
            # On a slow machine, the import takes a second or more, which is not the file's time.
            _confine(seconds + round(time.process_time()))
            read.answer(message, opened, companions)
            _write("\n")
    finally:
        os._exit(status)


def _opened(descriptors: Sequence[int]) -> list[BinaryIO]:
    """Return the files to read; the answer gets descriptor 1, and all others are closed."""
    # A descriptor's number is higher than its new number and lower than those that follow, so none is overwritten.
    for number, one in enumerate(descriptors):
        os.dup2(one, number)
    os.closerange(len(descriptors), os.sysconf("SC_OPEN_MAX"))
    return [open(one, "rb", closefd=False) for one in (0, *range(2, len(descriptors)))]


class _Elf:
    """The reader of the facts of ELF files."""

    def try_out(self) -> None:
        """Read a file of this system, so that what is imported and built on first use is there before the forks."""
        with suppress(OSError, NotABinaryError, struct.error), open(_HARMLESS, "rb") as file:
            elf_facts.facts(file)

    def prepare(self) -> None:
        """Do nothing: copying the memory in advance takes a child as long as reading."""

    def needs_lief(self, _message: bytes, _opened: BinaryIO) -> bool:
        """Return False: ELF files are read without LIEF."""
        return False

    def grow(self) -> None:
        """Do nothing."""

    def answer(self, _message: bytes, opened: BinaryIO, _companions: Sequence[BinaryIO]) -> None:
        """Write the facts."""
        _write(json.dumps(asdict(elf_facts.facts(opened))))


class _Everything:
    """The readers of facts, cards and crates."""

    def __init__(self) -> None:
        # Not at the top: these take 20 MB, which the reader of ELF files does without.
        from app.binary import names, reading  # noqa: PLC0415 - as above
        from app.course.crate import reading as crates  # noqa: PLC0415 - as above

        self._reading, self._read_crate = reading, crates.read_crate
        for name in _MANGLED:
            names.readable(name)

    def try_out(self) -> None:
        """Read a crate and a file of this system, so that this process has its own copy of the memory for it."""
        self._read_crate({"src/main.rs": "fn main() {} // x", "Cargo.toml": ""})
        with suppress(OSError, ValueError), open(_HARMLESS, "rb") as file:
            self._reading.examine(file)

    prepare = try_out

    def needs_lief(self, message: bytes, opened: BinaryIO) -> bool:
        """Return True if LIEF reads files of this format; looks at the first bytes only."""
        return message != b"s" and self._reading.needs_lief(opened)

    def grow(self) -> None:
        """Import the readers of the other formats."""
        self._reading.import_lief()

    def answer(self, message: bytes, opened: BinaryIO, companions: Sequence[BinaryIO]) -> None:
        """Write what the message asks for."""
        if message == b"f":
            _write(json.dumps(asdict(self._reading.inspect(opened))))
        elif message == b"s":
            _write(json.dumps(asdict(self._read_crate(json.load(opened)))))
        else:
            late = time.process_time() + _PART_SECONDS
            for number, card in enumerate(self._reading.drafts(opened, lambda: time.process_time() > late, companions)):
                _write("\x1e" * number + json.dumps(asdict(card)))


def _write(text: str) -> None:
    left = text.encode()
    while left:
        left = left[os.write(1, left) :]


def _confine(seconds: int) -> None:
    """Permanently give up all rights but to read, use memory and answer."""
    for what, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, _ADDRESSES),
        (resource.RLIMIT_DATA, _DATA),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(what, (most, most))
    if sys.platform != "linux" or platform.machine() not in _ALLOWED:
        return
    mark, futex, mmap, allowed = _ALLOWED[platform.machine()]
    steps = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, mark), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER)]
    # Each step jumps to the last one, which allows the call, or continues with the next.
    steps += [(_EQUAL, len(allowed) + 8 - at, 0, number) for at, number in enumerate(allowed)]
    steps += [(_EQUAL, 0, 3, mmap), (_LOAD, 0, 0, _FOURTH), (_AND, 0, 0, _GROWS_DOWN), (_EQUAL, 5, 4, 0)]
    steps += [(_EQUAL, 0, 3, futex), (_LOAD, 0, 0, _SECOND), (_AND, 0, 0, _COMMAND), (_EQUAL, 1, 0, _WAKE)]
    steps += [(_RETURN, 0, 0, _EPERM), (_RETURN, 0, 0, _ALLOW)]
    data = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = _Program(len(steps), ctypes.cast(data, ctypes.c_void_p))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    nothing = ctypes.c_ulong(0)
    if prctl(_SET_NO_NEW_PRIVILEGES, ctypes.c_ulong(1), nothing, nothing, nothing) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    if prctl(_SET_SECCOMP, ctypes.c_ulong(_FILTER), ctypes.byref(program)) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    main()
