"""The emulated processors, and the registers that are shown of them."""

from dataclasses import dataclass
from typing import Any

import capstone as cs
import unicorn as uc
from unicorn import arm64_const, arm_const, x86_const


@dataclass(frozen=True)
class Processor:
    """A processor: the settings of its emulator and decoder, and the registers that are shown.

    ``wide`` are the registers for vectors, which are not shown. ``linux`` is True if its programs run on Linux.
    """

    name: str
    emulator: tuple[int, int]
    decoder: tuple[int, int]
    registers: dict[str, int]
    pc: str
    sp: str
    word: int
    wide: tuple[int, ...]
    linux: bool = True


def _named(module: Any, prefix: str, names: str) -> dict[str, int]:
    return {name: getattr(module, f"{prefix}{name.upper()}") for name in names.split()}


_X86 = _named(x86_const, "UC_X86_REG_", "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip eflags")
_ARM = _named(arm_const, "UC_ARM_REG_", "r0 r1 r2 r3 r4 r5 r6 r7 r8 r9 r10 r11 r12 sp lr pc xpsr")
_ARM64 = _named(arm64_const, "UC_ARM64_REG_", " ".join(f"x{number}" for number in range(31)) + " sp pc nzcv")
_XMM = tuple(getattr(x86_const, f"UC_X86_REG_XMM{number}") for number in range(16))
_D = tuple(getattr(arm_const, f"UC_ARM_REG_D{number}") for number in range(16))
_Q = tuple(getattr(arm64_const, f"UC_ARM64_REG_Q{number}") for number in range(32))
PROCESSORS = {
    "EM_X86_64": Processor(
        "x86-64", (uc.UC_ARCH_X86, uc.UC_MODE_64), (cs.CS_ARCH_X86, cs.CS_MODE_64), _X86, "rip", "rsp", 8, _XMM
    ),
    "EM_ARM": Processor(
        "ARM",
        (uc.UC_ARCH_ARM, uc.UC_MODE_THUMB | uc.UC_MODE_MCLASS),
        (cs.CS_ARCH_ARM, cs.CS_MODE_THUMB | cs.CS_MODE_MCLASS),
        _ARM,
        "pc",
        "sp",
        4,
        _D,
        linux=False,
    ),
    "EM_AARCH64": Processor(
        "AArch64", (uc.UC_ARCH_ARM64, uc.UC_MODE_ARM), (cs.CS_ARCH_ARM64, cs.CS_MODE_ARM), _ARM64, "pc", "sp", 8, _Q
    ),
}
