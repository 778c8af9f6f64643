"""The options of QEMU that a command line may have: one kernel of the crate, on a few boards.

The list has no disks, networks, sockets, output files or scripts. It helps learners and does not protect the server: a
learner's cargo configuration can start the emulator with any options, and the sandbox confines it.
"""

import difflib
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
_DISK = "there are no disks; a kernel is started with `-kernel`"
_NETWORK = "there is no network"
_GDB = "there is no debugger; the page shows the registers at the end"
_REASONS: Mapping[str, str] = {
    **dict.fromkeys("-drive -hda -hdb -cdrom -fda -sd -pflash -mtdblock -bios -blockdev".split(), _DISK),
    **dict.fromkeys("-net -netdev -nic".split(), _NETWORK),
    **dict.fromkeys("-gdb -s -S".split(), _GDB),
    **dict.fromkeys("-enable-kvm -accel".split(), "the sandbox has no access to the processor's own virtual machines"),
}
"""Why an option is left out, where there is more to say than that."""


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
            f"Say which kernel `{program}` should start: `-kernel` and the path of what was built, below `target`."
        )
    return given["-kernel"]


def _option(program: str, name: str, following: Iterator[str]) -> dict[str, str]:
    patterns = {**_VALUES, "-M": _MACHINES[program]}
    if name not in patterns:
        raise ValueError(f"`{name[:40]}` is not offered here: {_reason(name, patterns)}.")
    value = next(following, None)
    if value is None:
        raise ValueError(f"`{program} {name}` needs a value.")
    if not re.fullmatch(patterns[name], value):
        raise ValueError(f"`{value[:60]}` is not a value that `{program} {name}` takes here.")
    return {name: value}


def _reason(name: str, patterns: Mapping[str, str]) -> str:
    if name in _REASONS:
        return _REASONS[name]
    near = difflib.get_close_matches(name, [*_FLAGS, *patterns], n=1, cutoff=0.75)
    return f"did you mean `{near[0]}`" if near else f"one kernel is started, with {', '.join(sorted(patterns))}"
