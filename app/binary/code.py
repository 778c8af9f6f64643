"""Machine code becomes text: the function at an address, and what a function refers to. By capstone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import capstone as cs
import demangle

from app.binary.image import Image
from app.binary.model import Code, Instruction, text

_MOST = 64
_BYTES = 1024
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
    """What an instruction leads to: an address in this file, or a name elsewhere."""

    how: Literal["calls", "hands over"]
    address: int | None
    name: str | None


def readable(name: str) -> str:
    """A symbol as a Rust programmer writes it; what is not mangled as it is."""
    try:
        return text(demangle.demangle(name, language="rust"))
    except (ValueError, RecursionError, demangle.DemanglingError):
        return name


def function(image: Image, address: int) -> Code | None:
    """The function that begins there; None for a machine that is not known or where there is no code."""
    decoded = list(_decoded(image, address))
    if not decoded:
        return None
    shown = [
        Instruction(one.address, one.bytes.hex(), f"{one.mnemonic} {one.op_str}".strip(), _target(image, one))
        for one in decoded[:_MOST]
    ]
    symbol = image.function_at(address)
    return Code(readable(symbol.name) if symbol else None, tuple(shown), len(decoded) > _MOST)


def references(image: Image, address: int) -> Iterator[Reference]:
    """What the function that begins there calls and whose address it takes, in the order of its instructions."""
    for one in _decoded(image, address):
        if one.group(cs.CS_GRP_CALL) or one.group(cs.CS_GRP_JUMP):
            how: Literal["calls", "hands over"] = "calls"
        elif image.machine == "x86-64" and one.mnemonic in ("lea", "mov"):
            how = "hands over"
        else:
            continue
        place, name = _leads_to(image, one)
        if name is not None or (place is not None and image.function_at(place)):
            yield Reference(how, place, name)


def _decoded(image: Image, address: int) -> Iterator[Any]:
    """The instructions of a function as capstone gives them, one more than are shown."""
    known = _MACHINES.get((image.machine, image.mode))
    if known is None:
        return
    machine, mode = known
    decoder = cs.Cs(machine, mode | (cs.CS_MODE_BIG_ENDIAN if image.big_endian else 0))
    decoder.detail = True
    extent = image.extent(address)
    data = image.code_at(address, _BYTES if extent is None else min(extent, _BYTES))
    yield from decoder.disasm(data, address, _MOST + 1)


def _target(image: Image, one: Any) -> str | None:
    """The name that an instruction leads to, unless it lies in the text already."""
    place, name = _leads_to(image, one)
    if name is not None:
        return readable(name)
    found = image.function_at(place) if place is not None else None
    return readable(found.name) if found else None


def _leads_to(image: Image, one: Any) -> tuple[int | None, str | None]:
    """The address that an instruction names, or the name that the loader puts there."""
    flow = one.group(cs.CS_GRP_CALL) or one.group(cs.CS_GRP_JUMP)
    for operand in one.operands:
        if operand.type == cs.CS_OP_IMM and (flow or one.mnemonic == "mov"):
            return int(operand.imm), None
        if image.machine == "x86-64" and operand.type == cs.CS_OP_MEM and operand.mem.base == cs.x86.X86_REG_RIP:
            place = one.address + one.size + operand.mem.disp
            if one.mnemonic == "lea":
                return place, None
            written = image.slots.get(place)
            return (written, None) if isinstance(written, int) else (None, written)
    return None, None
