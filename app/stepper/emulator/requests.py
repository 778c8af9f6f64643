"""A program's requests to the operating system or a debugger, and the stepper's answers."""

from collections.abc import Callable
from dataclasses import dataclass, field

_PRINTED = 4096
_ENOSYS, _EFAULT = -38, -14
Memory = Callable[[int, int], bytes | None]
"""Returns ``size`` bytes at ``address``, or None if there is no memory."""


class EndError(Exception):
    """The program ends; the message says why in one sentence."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass
class Effects:
    """The effects of the last instruction: its writes to memory, its output, and a note on it."""

    written: list[tuple[int, int, int]] = field(default_factory=list)
    output: str = ""
    note: str = ""


def system_call(
    effects: Effects, memory: Memory, number: int, arguments: list[int], *, exits: tuple[int, ...], write: int
) -> int:
    """Return the result of a system call. Raises ``EndError`` if the call ends the program."""
    first, second, third = arguments
    if number in exits:
        raise EndError("exit", f"The program asks the system to end it, with exit code {first & 0xFF}.")
    if number == write and first in (1, 2):
        data = memory(second, min(third, _PRINTED))
        if data is None:
            return _EFAULT
        effects.output = data.decode("utf-8", "replace")
        return len(data)
    effects.note = f"The stepper does not answer system call {number}: the program gets the error ENOSYS."
    return _ENOSYS


def semihosting(effects: Effects, memory: Memory, operation: int, parameter: int) -> int:
    """Return a debugger's answer to a semihosting request on ARM. Raises ``EndError`` if that ends the program."""
    match operation:
        case 0x18 | 0x20:
            raise EndError("exit", "The program asks the debugger to end it.")
        case 3:
            data = memory(parameter, 1) or b""
        case 4:
            data = _text(memory, parameter)
        case 5:
            words = memory(parameter, 12) or bytes(12)
            start, size = (int.from_bytes(words[at : at + 4], "little") for at in (4, 8))
            data = memory(start, min(size, _PRINTED)) or b""
        case _:
            effects.note = f"The stepper does not answer request {operation:#x} to a debugger."
            return 2**32 - 1
    effects.output = data.decode("utf-8", "replace")
    return 0


def _text(memory: Memory, start: int) -> bytes:
    """Return the text before the next zero byte."""
    data = bytearray()
    while len(data) < _PRINTED:
        one = memory(start + len(data), 1)
        if one in (None, b"\0"):
            break
        data += one or b""
    return bytes(data)
