"""Which line of the source an instruction comes from, by DWARF tables: those of an ELF file or of an object file."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import PurePath, PurePosixPath
from typing import Any

from app.binary.model import Instruction, text

_LARGEST = 512 * 1024
"""Bytes of one unit's table of lines that may be read: those of a learner's crate are a few hundred."""
_LARGEST_INFO = 64 * 1024
"""Bytes of debug information whose units are looked through when no table of addresses says which it is."""
_MOST, _MOST_UNITS = 100_000, 100

Row = tuple[int, str | None, int]
"""An address, the file and the line of the code from there on; no file behind the end of a function."""


def with_lines(instructions: Sequence[Instruction], found: Iterable[Row]) -> tuple[Instruction, ...]:
    """The instructions, each with its place in the source where that is known."""
    rows = sorted(islice(found, _MOST), key=lambda row: row[0])
    return tuple(_placed(one, rows) for one in instructions)


def rows(dwarf: Any, address: int) -> Iterator[Row]:
    """The rows of the unit that the code at the address belongs to."""
    for unit in islice(_units(dwarf, address), _MOST_UNITS):
        offset = unit.get_top_DIE().attributes.get("DW_AT_stmt_list")
        program = dwarf.line_program_for_CU(unit) if offset else None
        if program is None or program.header["unit_length"] > _LARGEST:
            continue
        home = text(_value(unit, "DW_AT_comp_dir"))
        files: dict[int, str] = {}
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            if state.file not in files:
                files[state.file] = _path(program.header, state.file, home)
            yield state.address, None if state.end_sequence else files[state.file], state.line


def within(path: PurePath, home: str) -> str:
    """The path relative to where the compiler ran, if it lies there."""
    return (path.relative_to(home) if home and path.is_relative_to(home) else path).as_posix()


def _placed(one: Instruction, rows: Sequence[Row]) -> Instruction:
    at = bisect_right(rows, one.address, key=lambda row: row[0])
    if not at or rows[at - 1][1] is None:
        return one
    _, file, line = rows[at - 1]
    return replace(one, file=file, line=line or None)


def _units(dwarf: Any, address: int) -> Iterator[Any]:
    """The unit that the table of addresses names; without such a table all, if they are few."""
    ranges = dwarf.get_aranges()
    offset = ranges.cu_offset_at_addr(address) if ranges else None
    if offset is not None:
        yield dwarf.get_CU_at(offset)
    elif dwarf.debug_info_sec.size <= _LARGEST_INFO:
        yield from dwarf.iter_CUs()


def _path(header: Any, number: int, home: str) -> str:
    """The file of that number."""
    first = 0 if header["version"] >= 5 else 1
    entry = header["file_entry"][number - first]
    folders = header["include_directory"]
    folder = int(entry["dir_index"]) - first
    name = PurePosixPath(text(entry["name"]))
    if 0 <= folder < len(folders):
        name = PurePosixPath(text(folders[folder])) / name
    return within(PurePosixPath(home) / name, home)


def _value(unit: Any, name: str) -> bytes | str:
    attribute = unit.get_top_DIE().attributes.get(name)
    value = attribute.value if attribute else b""
    return value if isinstance(value, bytes | str) else b""
