"""``python -I -B worker.py CPU_SECONDS``: read what strangers made, which comes over the socket at standard input.

It lives in a box and imports the readers once. Each file is read by a child of its own, forked beforehand, which then
may do nothing but read that file, use memory and write an answer: it can open, start, signal and wait for nothing. What
a hostile file does to its reader ends with that child; this process never sees a byte of the file or of the answer.

A message is one byte, ``f`` for the facts, ``c`` for the card or ``s`` for the facts of a crate, with descriptors: the
file (of a crate, a JSON object from paths to texts), a pipe for the answer, and for a card the files beside it that
know its lines. The answer is one line with a JSON object or nothing; with such files a card without lines and a
separator stand before it, for they may be what ends the child. Whenever the last child is gone and the next one is
there, a line goes back: the most memory, in KB, that a child has had.
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

# By hand, because the folder above may be closed here, and the package itself would bring what only a server needs.
_APP = types.ModuleType("app")
_APP.__path__ = [str(Path(__file__).parents[1])]
sys.modules.setdefault("app", _APP)

from app.binary.code import readable  # noqa: E402  (the package is known from here on)
from app.binary.reading import drafts, examine, inspect  # noqa: E402  (as above)
from app.crate.reading import read_crate  # noqa: E402  (as above)

_PART_SECONDS = 0.2
"""No part of a card is begun after so much processor time, so that it comes in time with what was read."""
_ADDRESSES = 512 * 1024 * 1024
_DATA = 160 * 1024 * 1024
"""What a child may have of its own: with the libraries, which lie in memory once for all, less than 200 MB."""

# mmap; read, write, lseek, pread64; mprotect, munmap, madvise, brk; clock_gettime; exit, exit_group
_ALLOWED = {
    "x86_64": (0xC000003E, 202, 9, (0, 1, 8, 17, 10, 11, 28, 12, 228, 60, 231)),
    "aarch64": (0xC00000B7, 98, 222, (63, 64, 62, 67, 226, 215, 233, 214, 113, 93, 94)),
}
"""The mark of the architecture; futex, of which only waking is allowed; mmap, but for what grows like a stack; and the
other system calls that a child may make. The limit of memory does not count stacks, which mremap could lengthen, too.

None of them waits for others, so that a child that does not end uses up its processor time.
"""
_LOAD, _AND, _EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_NUMBER, _ARCHITECTURE, _SECOND, _FOURTH = 0, 4, 24, 40
_COMMAND, _WAKE, _GROWS_DOWN = 0x7F, 1, 0x100
_ALLOW, _KILL, _EPERM = 0x7FFF0000, 0x80000000, 0x00050001
_SET_SECCOMP, _SET_NO_NEW_PRIVILEGES, _FILTER = 22, 38, 2
_MANGLED = ("_ZN4core3fmt5WriteE", "_RNvC4core3fmt")
"""A name of each kind, because the library that reads them imports the rest of itself with the first."""
_MOST_FILES = 16
_HARMLESS = "/bin/sh"
_CLOSED = 3
"""How a child ends when the server is gone."""


class _Program(ctypes.Structure):
    """The kernel's ``sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def main() -> None:
    """Answer until the other end of the socket is closed."""
    seconds = int(sys.argv[1])
    control = socket.socket(fileno=0)
    for name in _MANGLED:
        readable(name)
    _try_out()
    gc.collect()
    gc.freeze()
    peak, closed = 0, False
    while not closed:
        child = os.fork()
        if child == 0:
            _serve(control, seconds)
        control.send(b"%d\n" % peak)
        closed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == _CLOSED
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # LIEF's bindings would count what they still hold, aloud.
    os._exit(0)


def _try_out() -> None:
    """Read a file of this system and a crate, so that their memory is there when the stranger's file comes."""
    read_crate({"src/main.rs": "fn main() {} // x", "Cargo.toml": ""})
    with suppress(OSError, ValueError), open(_HARMLESS, "rb") as file:
        examine(file)


def _serve(control: socket.socket, seconds: int) -> None:
    """Wait for one message, answer it, end."""
    status = 1
    try:
        _try_out()
        message, descriptors, _, _ = socket.recv_fds(control, 1, _MOST_FILES)
        status = 0 if message else _CLOSED
        if message:
            _answer(message, descriptors, seconds)
    finally:
        os._exit(status)


def _answer(message: bytes, descriptors: Sequence[int], seconds: int) -> None:
    # Each has a higher number than the one that it gets, and those behind it have still higher ones.
    for number, one in enumerate(descriptors):
        os.dup2(one, number)
    os.closerange(len(descriptors), os.sysconf("SC_OPEN_MAX"))
    opened, *companions = [open(one, "rb", closefd=False) for one in (0, *range(2, len(descriptors)))]  # noqa: SIM115  (they end with the process)
    _confine(seconds)
    if message == b"f":
        _write(json.dumps(asdict(inspect(opened))))
    elif message == b"s":
        _write(json.dumps(asdict(read_crate(json.load(opened)))))
    else:
        late = time.process_time() + _PART_SECONDS
        for number, card in enumerate(drafts(opened, lambda: time.process_time() > late, companions)):
            _write("\x1e" * number + json.dumps(asdict(card)))
    _write("\n")


def _write(text: str) -> None:
    left = text.encode()
    while left:
        left = left[os.write(1, left) :]


def _confine(seconds: int) -> None:
    """Give up all but reading, memory and answering, for good."""
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
    # Each to the last step, which allows it, or on to the next.
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
