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
from elftools.elf.elffile import ELFFile
from elftools.elf.enums import ENUM_E_MACHINE

from app.binary import elf_facts, lines
from app.binary.elf_facts import name_at
from app.binary.image import CodeRange, Image, in_order, largest, listed
from app.binary.model import (
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

_LOADER_TYPES = (
    *("SHT_DYNAMIC", "SHT_DYNSYM", "SHT_HASH", "SHT_GNU_HASH", "SHT_REL", "SHT_RELA"),
    *("SHT_GNU_versym", "SHT_GNU_verneed", "SHT_GNU_verdef"),
)
"""The types of sections that only the loader reads."""
_MOST_SYMBOLS = 50_000
_RELA = struct.Struct("<QQq")
"""A relocation: the slot's address, the symbol's number and the kind in one integer, and an addend."""
_RELATIVE = 8  # R_X86_64_RELATIVE
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
    return elf_facts.facts(elf.stream)


def sections(elf: Elf) -> Iterator[Section]:
    """Yield the sections that have bytes in the file, in the file's order."""
    for one in elf.parts:
        if one["sh_type"] not in ("SHT_NULL", "SHT_NOBITS"):
            yield Section(text(one.name), _kind(one), int(one["sh_size"]), int(one["sh_addr"]))


def _kind(section: Any) -> SectionKind:
    if section["sh_type"] in _LOADER_TYPES or section.name == ".interp":
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
    tables = {one["sh_type"]: one for one in reversed(elf.parts)}  # of each type the first one
    table = tables.get("SHT_SYMTAB") or tables.get("SHT_DYNSYM")
    if table is None:
        return Symbols(0, 0, (), ()), (), ()
    if table["sh_size"] > _MOST_SYMBOLS * table["sh_entsize"]:
        raise NotABinaryError("the file has too many symbols")
    strings: bytes = elf.parts[table["sh_link"]].data()
    functions, others, undefined = [], [], []
    # Bit 0 of a function's address on ARM says that its code is Thumb code.
    in_memory = ~1 if elf["e_machine"] == "EM_ARM" else ~0
    for offset, value, size, kind, section in _entries(elf, table):
        name = name_at(strings, offset)
        # Types 3 and 4 are sections and source files. ARM marks ranges of code and data with symbols such as $t.
        if not name or kind > 2 or name.startswith("$"):
            continue
        if not section:
            undefined.append(name)
        elif kind == 2:
            functions.append(Symbol(name, value & in_memory, size))
        else:
            others.append(Symbol(name, value, size))
    defined = functions + others
    shown = Symbols(len(defined), len(undefined), largest(defined), listed(one.name for one in defined))
    return shown, in_order(functions), tuple(undefined)


def image(elf: Elf, functions: Sequence[Symbol]) -> Image:
    """Return the file's code as it lies in memory, with the addresses that the loader fills in."""
    machine = elf_facts.MACHINES.get(ENUM_E_MACHINE.get(str(elf["e_machine"]), 0), "")
    thumb = machine == "ARM" and elf["e_entry"] & 1
    return Image(
        machine=machine,
        mode=16 if thumb else int(elf.elfclass),
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
                yield place, name_at(strings, offsets[number])


def _entries(elf: Elf, table: Any) -> Iterator[elf_facts.Symbol]:
    """Yield each symbol of a table."""
    return elf_facts.symbols(table.data(), "<" if elf.little_endian else ">", wide=elf.elfclass == 64)
