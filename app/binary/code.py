"""Disassembly with capstone: the instructions of a function, and the functions that it refers to."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import capstone as cs

from app.binary.image import Image
from app.binary.model import Code, Instruction
from app.binary.names import readable

_MOST_INSTRUCTIONS = 64
_MOST_BYTES = 1024
_MACHINES = {
    ("x86-64", 64): (cs.CS_ARCH_X86, cs.CS_MODE_64),
    ("x86", 32): (cs.CS_ARCH_X86, cs.CS_MODE_32),
    ("ARM", 32): (cs.CS_ARCH_ARM, cs.CS_MODE_ARM),
    ("ARM", 16): (cs.CS_ARCH_ARM, cs.CS_MODE_THUMB | cs.CS_MODE_MCLASS),
    ("AArch64", 64): (cs.CS_ARCH_ARM64, cs.CS_MODE_ARM),
    ("RISC-V", 32): (cs.CS_ARCH_RISCV, cs.CS_MODE_RISCV32 | cs.CS_MODE_RISCVC),
    ("RISC-V", 64): (cs.CS_ARCH_RISCV, cs.CS_MODE_RISCV64 | cs.CS_MODE_RISCVC),
}


@dataclass(frozen=True)
class Reference:
    """A function that an instruction refers to: by its address in this file, or by its name in another one."""

    how: Literal["calls", "hands over"]
    address: int | None
    name: str | None


def function(image: Image, address: int) -> Code | None:
    """Disassemble the function at an address; return None if there is no code or the machine is not supported."""
    decoded = list(_decoded(image, address))
    if not decoded:
        return None
    shown = [
        Instruction(one.address, one.bytes.hex(), f"{one.mnemonic} {one.op_str}".strip(), _target_name(image, one))
        for one in decoded[:_MOST_INSTRUCTIONS]
    ]
    symbol = image.function_at(address)
    return Code(readable(symbol.name) if symbol else None, tuple(shown), len(decoded) > _MOST_INSTRUCTIONS)


def references(image: Image, address: int) -> Iterator[Reference]:
    """Yield the functions that the function at an address calls or takes the address of, in instruction order."""
    for one in _decoded(image, address):
        if one.group(cs.CS_GRP_CALL) or one.group(cs.CS_GRP_JUMP):
            how: Literal["calls", "hands over"] = "calls"
        elif image.machine == "x86-64" and one.mnemonic in ("lea", "mov"):
            how = "hands over"
        else:
            continue
        target, name = _target(image, one)
        if name is not None or (target is not None and image.function_at(target)):
            yield Reference(how, target, name)


def _decoded(image: Image, address: int) -> Iterator[Any]:
    """Yield a function's instructions, up to one more than are shown, so that the caller knows if there are more."""
    known = _MACHINES.get((image.machine, image.mode))
    if known is None:
        return
    machine, mode = known
    decoder = cs.Cs(machine, mode | (cs.CS_MODE_BIG_ENDIAN if image.big_endian else 0))
    decoder.detail = True
    extent = image.extent(address)
    data = image.code_at(address, _MOST_BYTES if extent is None else min(extent, _MOST_BYTES))
    yield from decoder.disasm(data, address, _MOST_INSTRUCTIONS + 1)


def _target_name(image: Image, one: Any) -> str | None:
    target, name = _target(image, one)
    if name is not None:
        return readable(name)
    symbol = image.function_at(target) if target is not None else None
    return readable(symbol.name) if symbol else None


def _target(image: Image, one: Any) -> tuple[int | None, str | None]:
    """Return the address that an instruction refers to, or the name of the symbol whose address the loader supplies."""
    flow = one.group(cs.CS_GRP_CALL) or one.group(cs.CS_GRP_JUMP)
    for operand in one.operands:
        if operand.type == cs.CS_OP_IMM and (flow or one.mnemonic == "mov"):
            return int(operand.imm), None
        if image.machine == "x86-64" and operand.type == cs.CS_OP_MEM and operand.mem.base == cs.x86.X86_REG_RIP:
            address = one.address + one.size + operand.mem.disp
            if one.mnemonic == "lea":
                return address, None
            loaded = image.slots.get(address)
            return (loaded, None) if isinstance(loaded, int) else (None, loaded)
    return None, None
