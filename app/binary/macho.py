"""Mach-O, the format of macOS, as LIEF reads it; of a file for several processors the first part."""

from typing import Any

import lief

from app.binary.model import NAMES, BinaryFacts, NotABinaryError, text

MAGIC = (b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe")

_MACHINES = {0x01000007: "x86-64", 7: "x86", 0x0100000C: "AArch64", 12: "ARM"}
_RUNTIME = {"_malloc", "dyld_stub_binder", "__Unwind_RaiseException", "_exit"}
_STAB = 0xE0
"""Bits of a symbol's type that only debuggers' symbols have."""
_DEFINED = 0x0E

lief.logging.disable()


def parsed(data: bytes) -> Any:
    """The file, or the first of those in it, as LIEF sees it; raises ``NotABinaryError``."""
    found = lief.MachO.parse(data)
    if found is None or not len(found):
        raise NotABinaryError("the Mach-O file is damaged")
    return found.at(0)


def facts(binary: Any) -> BinaryFacts:
    """The facts of a parsed file; names have the underscore in front that Apple's linker gives them."""
    machine = int(binary.header.cpu_type)
    begins = binary.has_main_command or binary.has_thread_command
    entry = int(binary.entrypoint) if begins else None
    at_entry, runtime = _symbols(binary, entry)
    return BinaryFacts(
        format="Mach-O",
        machine=_MACHINES.get(machine, f"{machine:#x}"),
        entry=entry,
        entry_symbol=at_entry,
        needed=tuple(text(library.name) for library in list(binary.libraries)[:NAMES]),
        interpreter=text(binary.dylinker.name) if binary.has_dylinker else None,
        runtime=runtime,
    )


def _symbols(binary: Any, entry: int | None) -> tuple[str | None, tuple[str, ...]]:
    at_entry = None
    runtime = set()
    for symbol in binary.symbols:
        kind = int(symbol.raw_type)
        if kind & _STAB:
            continue
        name = text(symbol.name)
        if kind & _DEFINED == _DEFINED and symbol.value == entry and at_entry is None and name:
            at_entry = name
        if name in _RUNTIME:
            runtime.add(name)
    return at_entry, tuple(sorted(runtime))
