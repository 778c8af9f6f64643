"""The reader of ELF, the format of Linux and of bare metal. Uses pyelftools.

Symbol tables are unpacked with ``struct``: a debug build of a std program has ten thousand symbols, and one pyelftools
object for each would delay the verdict.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from itertools import islice
from typing import Any, BinaryIO

from elftools.elf.constants import SH_FLAGS
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from app.binary import lines
from app.binary.image import CodeRange, Image, in_order, largest, listed
from app.binary.model import (
    LONGEST_NAME,
    MOST_NAMES,
    BinaryFacts,
    Instruction,
    NotABinaryError,
    Section,
    SectionKind,
    Symbol,
    Symbols,
    text,
    whole_records,
)

_MACHINES = {
    "EM_X86_64": "x86-64",
    "EM_386": "x86",
    "EM_ARM": "ARM",
    "EM_AARCH64": "AArch64",
    "EM_RISCV": "RISC-V",
}
_RUNTIME = (b"__libc_start_main", b"__libc_start_call_main", b"__libc_csu_init", b"malloc", b"_Unwind_RaiseException")
"""Symbols that only occur in a file with the C runtime: its start-up code, which also supplies a ``_start``, or
functions that the standard library calls if it is linked in without that code."""
_LOADER = (
    *("SHT_DYNAMIC", "SHT_DYNSYM", "SHT_HASH", "SHT_GNU_HASH", "SHT_REL", "SHT_RELA"),
    *("SHT_GNU_versym", "SHT_GNU_verneed", "SHT_GNU_verdef"),
)
_MOST_SYMBOLS = 50_000
_LONGEST_NAME_BYTES = 4 * LONGEST_NAME
_RELA = struct.Struct("<QQq")
_RELATIVE = 8
_SYMBOLIC = (1, 6, 7)  # R_X86_64_64, GLOB_DAT, JUMP_SLOT


class Elf(ELFFile):
    """An open file that reads its section headers once."""

    @cached_property
    def parts(self) -> tuple[Any, ...]:
        """The sections, in the file's order."""
        return tuple(self.iter_sections())


def parse(file: BinaryIO) -> Elf:
    """Open a file with pyelftools."""
    return Elf(file)


def facts(elf: Elf) -> BinaryFacts:
    """Return the facts about an open file."""
    entry = int(elf.header["e_entry"])
    machine = str(elf.header["e_machine"])
    at_entry, runtime = _entry_symbol_and_runtime(elf, entry)
    dynamic = next((one for one in elf.parts if isinstance(one, DynamicSection)), None)
    libraries: Iterable[Any] = () if dynamic is None else dynamic.iter_tags("DT_NEEDED")
    return BinaryFacts(
        format="ELF",
        machine=_MACHINES.get(machine, machine.removeprefix("EM_")),
        entry=entry,
        entry_symbol=at_entry,
        needed=tuple(text(tag.needed) for tag in islice(libraries, MOST_NAMES)),
        interpreter=_interpreter(elf),
        runtime=runtime,
    )


def _interpreter(elf: Elf) -> str | None:
    segment = next((one for one in elf.iter_segments() if isinstance(one, InterpSegment)), None)
    if segment is None:
        return None
    # pyelftools' get_interp_name reads byte by byte up to a NUL, however far away it is.
    elf.stream.seek(segment["p_offset"])
    return text(elf.stream.read(min(segment["p_filesz"], _LONGEST_NAME_BYTES)).partition(b"\0")[0])


def sections(elf: Elf) -> Iterator[Section]:
    """Yield the sections that have bytes in the file, in the file's order."""
    for one in elf.parts:
        if one["sh_type"] not in ("SHT_NULL", "SHT_NOBITS"):
            yield Section(text(one.name), _kind(one), int(one["sh_size"]), int(one["sh_addr"]))


def _kind(section: Any) -> SectionKind:
    if section["sh_type"] in _LOADER or section.name == ".interp":
        return "loader"
    flags = int(section["sh_flags"])
    if flags & SH_FLAGS.SHF_ALLOC:
        if section["sh_type"] == "SHT_STRTAB":
            return "loader"
        return "code" if flags & SH_FLAGS.SHF_EXECINSTR else "data" if flags & SH_FLAGS.SHF_WRITE else "constants"
    if section.name.startswith((".debug_", ".zdebug_")):
        return "debug"
    return "names" if section["sh_type"] in ("SHT_SYMTAB", "SHT_STRTAB") else "other"


def names(elf: Elf) -> tuple[Symbols, tuple[Symbol, ...], tuple[str, ...]]:
    """Return the symbols for display, the functions sorted by address, and the names of undefined symbols.

    Raises ``NotABinaryError`` if there are too many symbols to read in time.
    """
    tables = {one["sh_type"]: one for one in reversed(elf.parts)}
    table = tables.get("SHT_SYMTAB") or tables.get("SHT_DYNSYM")
    if table is None:
        return Symbols(0, 0, (), ()), (), ()
    if table["sh_size"] > _MOST_SYMBOLS * table["sh_entsize"]:
        raise NotABinaryError("the file has too many symbols")
    strings: bytes = elf.parts[table["sh_link"]].data()
    functions, others, undefined = [], [], []
    thumb = ~1 if elf["e_machine"] == "EM_ARM" else ~0
    for offset, value, size, kind, section in _entries(elf, table):
        name = _name(strings, offset)
        # Types 3 and 4 are sections and source files. ARM marks ranges of code and data with symbols such as $t.
        if not name or kind > 2 or name.startswith("$"):
            continue
        if not section:
            undefined.append(name)
        elif kind == 2:
            functions.append(Symbol(name, value & thumb, size))
        else:
            others.append(Symbol(name, value, size))
    defined = functions + others
    shown = Symbols(len(defined), len(undefined), largest(defined), listed(one.name for one in defined))
    return shown, in_order(functions), tuple(undefined)


def image(elf: Elf, functions: Sequence[Symbol]) -> Image:
    """Return the file's code as it lies in memory, with the addresses that the loader fills in."""
    machine = _MACHINES.get(str(elf["e_machine"]), "")
    short = machine == "ARM" and elf["e_entry"] & 1
    return Image(
        machine=machine,
        mode=16 if short else int(elf.elfclass),
        spans=tuple(
            CodeRange(int(one["sh_addr"]), int(one["sh_size"]), partial(_read, elf, int(one["sh_offset"])))
            for one in elf.parts
            if one["sh_flags"] & SH_FLAGS.SHF_EXECINSTR and one["sh_type"] != "SHT_NOBITS"
        ),
        functions=functions,
        slots=dict(_loader_slots(elf)) if machine == "x86-64" else {},
        big_endian=not elf.little_endian,
    )


def rows(elf: Elf, shown: Sequence[Instruction], _companions: Sequence[BinaryIO]) -> Iterable[lines.Row]:
    """Return the line table's rows for the instructions, from the file's DWARF sections."""
    if not any(one.name in (".debug_line", ".zdebug_line") for one in elf.parts):
        return ()
    return lines.rows(elf.get_dwarf_info(relocate_dwarf_sections=False, follow_links=False), shown[0].address)


def _read(elf: Elf, start: int, at: int, size: int) -> bytes:
    elf.stream.seek(start + at)
    data: bytes = elf.stream.read(size)
    return data


def _loader_slots(elf: Elf) -> Iterator[tuple[int, str | int]]:
    """Yield the slots that the loader fills in on x86-64: their address, and the symbol or address in this file."""
    for table in elf.parts:
        if table["sh_type"] != "SHT_RELA" or not table["sh_flags"] & SH_FLAGS.SHF_ALLOC or not table["sh_link"]:
            continue
        symbols = elf.parts[table["sh_link"]]
        strings: bytes = elf.parts[symbols["sh_link"]].data()
        offsets = [entry[0] for entry in islice(_entries(elf, symbols), _MOST_SYMBOLS)]
        for place, info, addend in islice(_RELA.iter_unpack(whole_records(table.data(), _RELA.size)), _MOST_SYMBOLS):
            kind, number = info & 0xFFFFFFFF, info >> 32
            if kind == _RELATIVE:
                yield place, addend
            elif kind in _SYMBOLIC and 0 < number < len(offsets):
                yield place, _name(strings, offsets[number])


def _entry_symbol_and_runtime(elf: Elf, entry: int) -> tuple[str | None, tuple[str, ...]]:
    at_entry: str | None = None
    runtime: set[str] = set()
    for table in elf.parts:
        if table["sh_type"] not in ("SHT_SYMTAB", "SHT_DYNSYM"):
            continue
        names: bytes = elf.parts[table["sh_link"]].data()
        for offset, value, _size, kind, section in _entries(elf, table):
            # ARM's mapping symbols, such as $t, can have the entry's address too.
            if at_entry is None and value == entry and section and kind in (0, 2) and entry:
                name = _name(names, offset)
                at_entry = name if name and not name.startswith("$") else None
        # A name can be followed by a version: __libc_start_main@GLIBC_2.34.
        runtime |= {
            symbol.decode() for symbol in _RUNTIME if any(b"\0" + symbol + end in names for end in (b"\0", b"@"))
        }
    return at_entry, tuple(sorted(runtime))


def _entries(elf: Elf, table: Any) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield each symbol's name offset, value, size, type and section index (0 if it is undefined)."""
    order = "<" if elf.little_endian else ">"
    if elf.elfclass == 64:
        layout = struct.Struct(order + "IBBHQQ")
        data = whole_records(table.data(), layout.size)
        for name, info, _other, section, value, size in layout.iter_unpack(data):
            yield name, value, size, info & 0xF, section
    else:
        layout = struct.Struct(order + "IIIBBH")
        data = whole_records(table.data(), layout.size)
        for name, value, size, info, _other, section in layout.iter_unpack(data):
            yield name, value, size, info & 0xF, section


def _name(names: bytes, offset: int) -> str:
    return text(names[offset : offset + _LONGEST_NAME_BYTES].partition(b"\0")[0])
