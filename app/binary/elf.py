"""ELF, the format of Linux and of bare metal, as pyelftools reads it.

Tables of symbols are unpacked in one go, because a debug build of a std program has ten thousand of them and a
lesson's verdict should not wait for an object each.
"""

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Any

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from app.binary.model import NAMES, BinaryFacts, text

_MACHINES = {
    "EM_X86_64": "x86-64",
    "EM_386": "x86",
    "EM_ARM": "ARM",
    "EM_AARCH64": "AArch64",
    "EM_RISCV": "RISC-V",
}
_RUNTIME = (b"__libc_start_main", b"__libc_start_call_main", b"__libc_csu_init", b"malloc", b"_Unwind_RaiseException")
"""Symbols that only a file with the C runtime names: its start-up code, which supplies a ``_start`` too, or what the
standard library calls when it is linked in without that code."""


def facts(elf: ELFFile) -> BinaryFacts:
    """The facts of an opened file."""
    entry = int(elf.header["e_entry"])
    machine = str(elf.header["e_machine"])
    at_entry, runtime = _symbols(elf, entry)
    return BinaryFacts(
        format="ELF",
        machine=_MACHINES.get(machine, machine.removeprefix("EM_")),
        entry=entry,
        entry_symbol=at_entry,
        needed=_needed(elf),
        interpreter=next(
            (text(s.get_interp_name()) for s in elf.iter_segments() if isinstance(s, InterpSegment)), None
        ),
        runtime=runtime,
    )


def _needed(elf: ELFFile) -> tuple[str, ...]:
    section = next((s for s in elf.iter_sections() if isinstance(s, DynamicSection)), None)
    if section is None:
        return ()
    tags: Iterator[Any] = section.iter_tags("DT_NEEDED")
    return tuple(text(tag.needed) for tag in islice(tags, NAMES))


def _symbols(elf: ELFFile, entry: int) -> tuple[str | None, tuple[str, ...]]:
    """The name at the entry address, and the symbols of the C runtime that the file names."""
    at_entry: str | None = None
    runtime: set[str] = set()
    for table in elf.iter_sections():
        if table["sh_type"] not in ("SHT_SYMTAB", "SHT_DYNSYM"):
            continue
        names: bytes = elf.get_section(table["sh_link"]).data()
        for offset, value, kind, section in _entries(elf, table):
            # A mapping symbol such as ARM's $t has the entry's address too, but no type.
            if at_entry is None and value == entry and section and kind in (0, 2) and entry:
                name = _name(names, offset)
                at_entry = name if name and not name.startswith("$") else None
        # Also with a version behind it: __libc_start_main@GLIBC_2.34.
        runtime |= {
            symbol.decode() for symbol in _RUNTIME if any(b"\0" + symbol + end in names for end in (b"\0", b"@"))
        }
    return at_entry, tuple(sorted(runtime))


def _entries(elf: ELFFile, table: Any) -> Iterator[tuple[int, int, int, int]]:
    """Of each symbol: its name's offset, its value, its type and its section (0: undefined)."""
    order = "<" if elf.little_endian else ">"
    if elf.elfclass == 64:
        layout = struct.Struct(order + "IBBHQQ")
        data = _whole(table.data(), layout.size)
        for name, info, _other, section, value, _size in layout.iter_unpack(data):
            yield name, value, info & 0xF, section
    else:
        layout = struct.Struct(order + "IIIBBH")
        data = _whole(table.data(), layout.size)
        for name, value, _size, info, _other, section in layout.iter_unpack(data):
            yield name, value, info & 0xF, section


def _whole(data: bytes, size: int) -> bytes:
    return data[: len(data) - len(data) % size]


def _name(names: bytes, offset: int) -> str:
    return text(names[offset : names.index(b"\0", offset)])
