"""The facts of an ELF file, the part of its card for which each verdict waits. Only needs ``struct``.

pyelftools, which reads the rest, builds a description of the format for each file. In the child that reads a single
file, that takes five times as long as the fork.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import IO

from app.binary.model import LONGEST_NAME, MOST_NAMES, BinaryFacts, NotABinaryError, text, whole_records

_LONGEST_NAME_BYTES = 4 * LONGEST_NAME
MACHINES = {3: "x86", 40: "ARM", 62: "x86-64", 183: "AArch64", 243: "RISC-V"}
"""The names of the machines that the rest of the card knows."""
FURTHER_MACHINES = {
    2: "SPARC",
    4: "68K",
    8: "MIPS",
    20: "PPC",
    21: "PPC64",
    22: "S390",
    43: "SPARCV9",
    83: "AVR",
    94: "XTENSA",
    105: "MSP430",
    164: "QDSP6",
    247: "BPF",
    252: "CSKY",
    258: "LOONGARCH",
}
_RUNTIME = (b"__libc_start_main", b"__libc_start_call_main", b"__libc_csu_init", b"malloc", b"_Unwind_RaiseException")
"""Symbols that only occur in a file with the C runtime: its start-up code, which also supplies a ``_start``, or
functions that the standard library calls if it is linked in without that code."""
_SYMBOLS, _DYNAMIC_SYMBOLS, _DYNAMIC = 2, 11, 6
_INTERPRETER, _NEEDED, _END = 3, 1, 0
_MOST_PARTS = 70_000

Symbol = tuple[int, int, int, int, int]
"""A symbol: its name's offset, value, size, type, and section index (0 if it is undefined)."""


@dataclass(frozen=True)
class _Part:
    """A section or a segment: its type, its place and size in the file, and the number of the section it refers to."""

    kind: int
    offset: int
    size: int
    link: int = 0


class _File:
    """An open file. Its methods raise ``NotABinaryError``, and ``struct.error`` where the file is too short."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        start = self.bytes_at(0, 16)
        if start[:4] != b"\x7fELF" or start[4] not in (1, 2) or start[5] not in (1, 2):
            raise NotABinaryError("the file is not an ELF binary")
        self.wide, self.order = start[4] == 2, "<" if start[5] == 1 else ">"
        form = self.layout("HHIQQQIHHHHHH" if self.wide else "HHIIIIIHHHHHH")
        head = form.unpack(self.bytes_at(16, form.size))
        _, self.machine, _, self.entry, self._segments_at, self._sections_at, _, _ = head[:8]
        self._segment_bytes, self._segment_count, self._section_bytes, self._section_count, _ = head[8:]

    def sections(self) -> list[_Part]:
        """Return the sections."""
        form = self.layout("IIQQQQII" if self.wide else "IIIIIIII")
        count = self._section_count
        if not count and self._sections_at:  # more than the field can hold
            count = form.unpack(self.bytes_at(self._sections_at, form.size))[5]
        rows = self._table(form, self._sections_at, self._section_bytes, count)
        return [_Part(kind, offset, size, link) for _, kind, _, _, offset, size, link, _ in rows]

    def segments(self) -> list[_Part]:
        """Return the segments."""
        form = self.layout("IIQQQQ" if self.wide else "IIIII")
        rows = self._table(form, self._segments_at, self._segment_bytes, self._segment_count)
        return [_Part(row[0], row[-4], row[-1]) for row in rows]

    def layout(self, form: str) -> struct.Struct:
        """Return a form in the file's byte order."""
        return struct.Struct(self.order + form)

    def content(self, part: _Part) -> bytes:
        """Return the bytes of a section or segment."""
        return self.bytes_at(part.offset, part.size)

    def bytes_at(self, offset: int, size: int) -> bytes:
        """Return so many bytes, or fewer at the end of the file."""
        self._file.seek(offset)
        return self._file.read(size)

    def _table(self, form: struct.Struct, offset: int, step: int, count: int) -> list[tuple[int, ...]]:
        if count > _MOST_PARTS:
            raise NotABinaryError("the file has too many parts")
        data = self.bytes_at(offset, step * count)
        return [form.unpack_from(data, step * number) for number in range(count)]


def facts(opened: IO[bytes]) -> BinaryFacts:
    """Return the facts about an open file. Raises ``NotABinaryError``, ``struct.error`` and others if it is damaged."""
    file = _File(opened)
    sections = file.sections()
    at_entry, runtime = _entry_symbol_and_runtime(file, sections)
    return BinaryFacts(
        format="ELF",
        machine=MACHINES.get(file.machine) or FURTHER_MACHINES.get(file.machine) or str(file.machine),
        entry=file.entry,
        entry_symbol=at_entry,
        needed=tuple(islice(_needed(file, sections), MOST_NAMES)),
        interpreter=_interpreter(file),
        runtime=runtime,
    )


def symbols(data: bytes, order: str, *, wide: bool) -> Iterator[Symbol]:
    """Yield the symbols of a table."""
    if wide:
        for name, info, _other, section, value, size in struct.Struct(order + "IBBHQQ").iter_unpack(
            whole_records(data, 24)
        ):
            yield name, value, size, info & 0xF, section
    else:
        for name, value, size, info, _other, section in struct.Struct(order + "IIIBBH").iter_unpack(
            whole_records(data, 16)
        ):
            yield name, value, size, info & 0xF, section


def name_at(names: bytes, offset: int) -> str:
    """Return the name at an offset of a string table."""
    return text(names[offset : offset + _LONGEST_NAME_BYTES].partition(b"\0")[0])


def _needed(file: _File, sections: list[_Part]) -> Iterator[str]:
    table = next((one for one in sections if one.kind == _DYNAMIC), None)
    if table is None:
        return
    names = file.content(sections[table.link])
    form = file.layout("qQ" if file.wide else "iI")
    for tag, value in form.iter_unpack(whole_records(file.content(table), form.size)):
        if tag == _NEEDED:
            yield name_at(names, value)
        elif tag == _END:
            return


def _interpreter(file: _File) -> str | None:
    segment = next((one for one in file.segments() if one.kind == _INTERPRETER), None)
    if segment is None:
        return None
    return text(file.bytes_at(segment.offset, min(segment.size, _LONGEST_NAME_BYTES)).partition(b"\0")[0])


def _entry_symbol_and_runtime(file: _File, sections: list[_Part]) -> tuple[str | None, tuple[str, ...]]:
    at_entry: str | None = None
    runtime: set[str] = set()
    for table in sections:
        if table.kind not in (_SYMBOLS, _DYNAMIC_SYMBOLS):
            continue
        names = file.content(sections[table.link])
        for offset, value, _size, kind, section in symbols(file.content(table), file.order, wide=file.wide):
            # ARM's mapping symbols, such as $t, can have the entry's address too.
            if at_entry is None and value == file.entry and section and kind in (0, 2) and file.entry:
                name = name_at(names, offset)
                at_entry = name if name and not name.startswith("$") else None
        # A name can be followed by a version: __libc_start_main@GLIBC_2.34.
        runtime |= {
            symbol.decode() for symbol in _RUNTIME if any(b"\0" + symbol + end in names for end in (b"\0", b"@"))
        }
    return at_entry, tuple(sorted(runtime))
