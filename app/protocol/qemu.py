"""The options of QEMU that a command line may have: one kernel of the crate, on a few boards.

The list has no disks, networks, sockets, output files or scripts. It helps learners and does not protect the server: a
learner's cargo configuration can start the emulator with any options, and the sandbox confines it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

PROGRAMS = ("qemu-system-arm", "qemu-system-x86_64")

_FLAGS = frozenset("-nographic -no-reboot -semihosting -nodefaults".split())
_ALONE = frozenset("-version --version".split())
_MACHINES = {
    "qemu-system-arm": "mps2-an385|mps2-an386|mps2-an500|mps2-an511|lm3s6965evb|lm3s811evb|microbit|netduinoplus2",
    "qemu-system-x86_64": "pc|q35",
}
_VALUES: Mapping[str, str] = {
    "-kernel": r".+",
    "-cpu": r"[a-z0-9_-]{1,30}",
    "-m": r"[1-9][0-9]{0,2}M?",
    "-smp": r"1",
    "-serial": r"stdio|mon:stdio|none",
    "-monitor": r"none",
    "-display": r"none",
    "-vga": r"std|none",
    "-nic": r"none",
    "-accel": r"tcg",
    "-device": r"isa-debug-exit(,iobase=0x[0-9a-f]{1,4})?(,iosize=(0x)?0?[1-8])?",
    "-semihosting-config": r"enable=on(,target=(native|auto))?",
    "-d": r"(int|guest_errors|cpu_reset|unimp|in_asm)(,(int|guest_errors|cpu_reset|unimp|in_asm))*",
}
_SAME = {"-machine": "-M", "--kernel": "-kernel"}


def kernel(program: str, arguments: Sequence[str]) -> str | None:
    """Return the path after ``-kernel``, not validated, or None if the command only asks for the version.

    Raises ``ValueError`` with a sentence that says what is possible.
    """
    if len(arguments) == 1 and arguments[0] in _ALONE:
        return None
    given: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        if word not in _FLAGS:
            given |= _option(program, _SAME.get(word, word), words)
    if "-kernel" not in given:
        raise ValueError(
            f"Say which kernel {program} is to start: -kernel and the path of a file that was built, below target/."
        )
    return given["-kernel"]


def _option(program: str, name: str, following: Iterator[str]) -> dict[str, str]:
    patterns = {**_VALUES, "-M": _MACHINES[program]}
    if name not in patterns:
        offered = ", ".join(sorted([*_FLAGS, *patterns]))
        raise ValueError(f"{program} {name[:40]} is not offered here; it takes {offered}.")
    value = next(following, None)
    if value is None:
        raise ValueError(f"{program} {name} needs a value.")
    if not re.fullmatch(patterns[name], value):
        raise ValueError(f"{value[:60]!r} is no value that {program} {name} takes here.")
    return {name: value}
