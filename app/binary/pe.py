"""The reader of PE, the format of Windows. Uses LIEF.

The names of functions are usually in another file, the PDB, so most entry points have no name.
"""

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import lief

from app.binary import lines, pdb
from app.binary.image import Image, in_memory, in_order, largest, listed
from app.binary.model import (
    MOST_NAMES,
    BinaryFacts,
    Instruction,
    NotABinaryError,
    Section,
    SectionKind,
    Symbol,
    Symbols,
    read_all,
    text,
)

_MACHINES = {0x8664: "x86-64", 0x014C: "x86", 0xAA64: "AArch64", 0x01C0: "ARM", 0x01C4: "ARM"}
_SUBSYSTEMS = {1: "native", 2: "windows", 3: "console", 10: "efi"}
_RUNTIME = {"malloc", "_initterm", "__C_specific_handler", "_CxxThrowException", "__CxxFrameHandler3"}

_CODE, _EXECUTE, _WRITE = 0x20, 0x20000000, 0x80000000

lief.logging.disable()


def parse(file: BinaryIO) -> Any:
    """Parse a file with LIEF. Raises ``NotABinaryError``."""
    config = lief.PE.ParserConfig()
    config.parse_signature = config.parse_rsrc = config.parse_reloc = config.parse_exceptions = False
    binary = lief.PE.parse(read_all(file), config)
    if binary is None:
        raise NotABinaryError("the PE file is damaged")
    return binary


def facts(binary: Any) -> BinaryFacts:
    """Return the facts about a parsed file."""
    machine = int(binary.header.machine)
    start = int(binary.optional_header.addressof_entrypoint)
    entry = start and start + int(binary.optional_header.imagebase)
    imported = {text(entry.name) for library in binary.imports for entry in library.entries}
    subsystem = int(binary.optional_header.subsystem)
    return BinaryFacts(
        format="PE",
        machine=_MACHINES.get(machine, f"{machine:#x}"),
        entry=entry,
        entry_symbol=_symbol_at(binary, start) if start else None,
        needed=tuple(text(library.name) for library in list(binary.imports)[:MOST_NAMES]),
        interpreter=None,
        runtime=tuple(sorted(_RUNTIME & imported)),
        subsystem=_SUBSYSTEMS.get(subsystem, str(subsystem)),
    )


def sections(binary: Any) -> Iterator[Section]:
    """Yield the sections, in the file's order."""
    base = int(binary.optional_header.imagebase)
    for one in binary.sections:
        # In the file each section is padded to a multiple of 512 bytes; the virtual size has no padding.
        size = min(int(one.sizeof_raw_data), int(one.virtual_size) or int(one.sizeof_raw_data))
        yield Section(text(one.name), _kind(one), size, base + int(one.virtual_address))


def _kind(section: Any) -> SectionKind:
    flags = int(section.characteristics)
    if flags & (_CODE | _EXECUTE):
        return "code"
    name = text(section.name)
    if name in (".idata", ".edata", ".reloc"):
        return "loader"
    if name.startswith((".debug", "/")):
        return "debug"
    return "data" if flags & _WRITE else "constants"


def names(binary: Any) -> tuple[Symbols, tuple[Symbol, ...], tuple[str, ...]]:
    """Return the symbols for display, the functions sorted by address, and the names of undefined symbols."""
    base = int(binary.optional_header.imagebase)
    exported = binary.get_export().entries if binary.has_exports else ()
    found = [Symbol(text(one.name), base + int(one.address)) for one in exported if one.name]
    undefined = tuple(text(entry.name) for library in binary.imports for entry in library.entries if entry.name)
    shown = Symbols(len(found), len(undefined), largest(found), listed(one.name for one in found))
    return shown, in_order(found), undefined


def image(binary: Any, functions: Sequence[Symbol]) -> Image:
    """Return the file's code as it lies in memory."""
    machine = _MACHINES.get(int(binary.header.machine), "")
    base = int(binary.optional_header.imagebase)
    return Image(
        machine=machine,
        mode={"x86": 32, "ARM": 16}.get(machine, 64),
        spans=tuple(
            in_memory(base + int(one.virtual_address), bytes(one.content)[: int(one.virtual_size)])
            for one in binary.sections
            if _kind(one) == "code"
        ),
        functions=functions,
    )


def rows(binary: Any, shown: Sequence[Instruction], companions: Sequence[BinaryIO]) -> Iterator[lines.Row]:
    """Yield line table rows for the instructions, from the PDB beside the file."""
    if not companions:
        return
    base = int(binary.optional_header.imagebase)
    starts = [base + int(one.virtual_address) for one in binary.sections]
    start = max(one for one in starts if one <= shown[0].address)
    section, guid = starts.index(start) + 1, bytes(binary.codeview_pdb.signature)
    first, last = shown[0].address - start, shown[-1].address - start
    for offset, file, line in pdb.rows(companions[0], guid, section, first, last):
        yield start + offset, file, line


def _symbol_at(binary: Any, start: int) -> str | None:
    for symbol in binary.symbols:
        # Only GNU's tools leave symbols in the file. Their values are offsets into the section.
        section = symbol.section
        if section is not None and section.virtual_address + symbol.value == start and symbol.name:
            return text(symbol.name)
    exported = binary.get_export().entries if binary.has_exports else ()
    return next((text(one.name) for one in exported if one.address == start and one.name), None)
