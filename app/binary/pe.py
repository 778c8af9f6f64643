"""PE, the format of Windows, as LIEF reads it.

Its names of functions lie in another file, the ``.pdb``; so the place where such a program begins mostly has none.
"""

from typing import Any

import lief

from app.binary.model import NAMES, BinaryFacts, NotABinaryError, text

_MACHINES = {0x8664: "x86-64", 0x014C: "x86", 0xAA64: "AArch64", 0x01C0: "ARM", 0x01C4: "ARM"}
_SUBSYSTEMS = {1: "native", 2: "windows", 3: "console", 10: "efi"}
_RUNTIME = {"malloc", "_initterm", "__C_specific_handler", "_CxxThrowException", "__CxxFrameHandler3"}

lief.logging.disable()


def parsed(data: bytes) -> Any:
    """The file as LIEF sees it; raises ``NotABinaryError``."""
    wanted = lief.PE.ParserConfig()
    wanted.parse_signature = wanted.parse_rsrc = wanted.parse_reloc = wanted.parse_exceptions = False
    binary = lief.PE.parse(data, wanted)
    if binary is None:
        raise NotABinaryError("the PE file is damaged")
    return binary


def facts(binary: Any) -> BinaryFacts:
    """The facts of a parsed file."""
    machine = int(binary.header.machine)
    start = int(binary.optional_header.addressof_entrypoint)
    entry = start and start + int(binary.optional_header.imagebase)
    imported = {text(entry.name) for library in binary.imports for entry in library.entries}
    subsystem = int(binary.optional_header.subsystem)
    return BinaryFacts(
        format="PE",
        machine=_MACHINES.get(machine, f"{machine:#x}"),
        entry=entry,
        entry_symbol=_name_at(binary, start) if start else None,
        needed=tuple(text(library.name) for library in list(binary.imports)[:NAMES]),
        interpreter=None,
        runtime=tuple(sorted(_RUNTIME & imported)),
        subsystem=_SUBSYSTEMS.get(subsystem, str(subsystem)),
    )


def _name_at(binary: Any, start: int) -> str | None:
    for symbol in binary.symbols:
        # Of those that GNU's tools leave in the file; the value counts from the start of the section.
        section = symbol.section
        if section is not None and section.virtual_address + symbol.value == start and symbol.name:
            return text(symbol.name)
    exported = binary.get_export().entries if binary.has_exports else ()
    return next((text(one.name) for one in exported if one.address == start and one.name), None)
