"""The reader of Mach-O, the format of macOS. Uses LIEF. Of a universal binary it reads the first architecture."""

import io
from collections.abc import Iterator, Sequence
from inspect import signature
from itertools import islice
from typing import Any, BinaryIO

import lief
from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo

from app.binary import lines
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

_MACHINES = {0x01000007: "x86-64", 7: "x86", 0x0100000C: "AArch64", 12: "ARM"}
_RUNTIME = {"_malloc", "dyld_stub_binder", "__Unwind_RaiseException", "_exit"}
_STAB = 0xE0
"""Bits of a symbol's type that only symbols for debuggers have."""
_DEFINED = 0x0E
_INSTRUCTIONS = 0x80000400
"""Flags of a section that holds only code or some code."""
_ZEROS = (0x1, 0xC, 0x12)
_MOST_SYMBOLS = 50_000

_DWARF = [name for name in signature(DWARFInfo).parameters if name.endswith("_sec")]

lief.logging.disable()


def parse(file: BinaryIO) -> Any:
    """Parse a file with LIEF. Raises ``NotABinaryError``."""
    found = lief.MachO.parse(read_all(file))
    if found is None or not len(found):
        raise NotABinaryError("the Mach-O file is damaged")
    return found.at(0)


def facts(binary: Any) -> BinaryFacts:
    """Return the facts about a parsed file. Names keep the leading underscore of Apple's platforms."""
    machine = int(binary.header.cpu_type)
    has_entry = binary.has_main_command or binary.has_thread_command
    entry = int(binary.entrypoint) if has_entry else None
    at_entry, runtime = _symbol_at_and_runtime(binary, entry)
    return BinaryFacts(
        format="Mach-O",
        machine=_MACHINES.get(machine, f"{machine:#x}"),
        entry=entry,
        entry_symbol=at_entry,
        needed=tuple(text(library.name) for library in list(binary.libraries)[:MOST_NAMES]),
        interpreter=text(binary.dylinker.name) if binary.has_dylinker else None,
        runtime=runtime,
    )


def sections(binary: Any) -> Iterator[Section]:
    """Yield the sections in the file's order, then the segment with the linker's tables."""
    for one in binary.sections:
        # A section of zeros has no bytes in the file.
        if int(one.raw_type if hasattr(one, "raw_type") else one.type) not in _ZEROS:
            name = f"{text(one.segment_name)},{text(one.name)}"
            yield Section(name, _kind(one), int(one.size), int(one.virtual_address))
    for segment in binary.segments:
        if segment.name == "__LINKEDIT":
            yield Section("__LINKEDIT", "names", int(segment.file_size), int(segment.virtual_address))


def _kind(section: Any) -> SectionKind:
    if int(section.flags) & _INSTRUCTIONS:
        return "code"
    if text(section.segment_name).startswith("__DWARF"):
        return "debug"
    return "constants" if section.segment_name in ("__TEXT", "__DATA_CONST") else "data"


def names(binary: Any) -> tuple[Symbols, tuple[Symbol, ...], tuple[str, ...]]:
    """Return the symbols for display, the functions sorted by address, and the names of undefined symbols."""
    found, undefined = [], []
    for symbol in islice(binary.symbols, _MOST_SYMBOLS):
        kind = int(symbol.raw_type)
        if kind & _STAB or not symbol.name:
            continue
        if kind & _DEFINED == _DEFINED:
            found.append(Symbol(text(symbol.name), int(symbol.value)))
        elif not kind & _DEFINED:
            undefined.append(text(symbol.name))
    shown = Symbols(len(found), len(undefined), largest(found), listed(one.name for one in found))
    return shown, in_order(found), tuple(undefined)


def image(binary: Any, functions: Sequence[Symbol]) -> Image:
    """Return the file's code as it lies in memory."""
    machine = _MACHINES.get(int(binary.header.cpu_type), "")
    return Image(
        machine=machine,
        mode={"x86": 32, "ARM": 32}.get(machine, 64),
        spans=tuple(
            in_memory(int(one.virtual_address), bytes(one.content)) for one in binary.sections if _kind(one) == "code"
        ),
        functions=functions,
    )


def rows(binary: Any, shown: Sequence[Instruction], companions: Sequence[BinaryIO]) -> Iterator[lines.Row]:
    """Yield line table rows for the instructions, from the object file that defines their function.

    Apple's linker leaves the tables in the object files, which are the companions.
    """
    name, start = _symbol_at_and_runtime(binary, shown[0].address)[0], shown[0].address
    for file in companions:
        linked = parse(file)
        functions = names(linked)[1]
        at = next((one.address for one in functions if one.name == name), None)
        if at is None:
            continue
        # After this function the linker may have placed a different function than the compiler did.
        extent = image(linked, functions).extent(at) or shown[-1].address - start + 1
        for address, path, line in lines.rows(_dwarf(linked), at):
            if at <= address < at + extent:
                yield start + address - at, path, line
        yield start + extent, None, 0
        return
    if companions:
        raise NotABinaryError("no object file defines the function")


def _dwarf(binary: Any) -> DWARFInfo:
    # A section's name is cut to 16 bytes.
    found = {text(one.name): bytes(one.content) for one in binary.sections}
    parts = {name: found.get(f"__{name.removesuffix('_sec')}"[:16]) for name in _DWARF}
    return DWARFInfo(
        DwarfConfig(little_endian=True, machine_arch="", default_address_size=8),
        **{
            name: None if data is None else DebugSectionDescriptor(io.BytesIO(data), name, 0, len(data), 0)
            for name, data in parts.items()
        },
    )


def _symbol_at_and_runtime(binary: Any, address: int | None) -> tuple[str | None, tuple[str, ...]]:
    at_address = None
    runtime = set()
    for symbol in binary.symbols:
        kind = int(symbol.raw_type)
        if kind & _STAB:
            continue
        name = text(symbol.name)
        if kind & _DEFINED == _DEFINED and symbol.value == address and at_address is None and name:
            at_address = name
        if name in _RUNTIME:
            runtime.add(name)
    return at_address, tuple(sorted(runtime))
