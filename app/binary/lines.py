"""Source lines of instructions, from the DWARF line tables of an ELF file or an object file."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import PurePath, PurePosixPath
from typing import Any

from app.binary.model import Instruction, text

_LARGEST_TABLE = 512 * 1024
"""The limit for one unit's line table, in bytes. A learner's crate has a few hundred."""
_LARGEST_INFO = 64 * 1024
"""The limit for debug information whose units are searched because there is no table of addresses, in bytes."""
_MOST_ROWS, _MOST_UNITS = 100_000, 100

Row = tuple[int, str | None, int]
"""An address, and the file and line of the code from there on. The file is None after the end of a function."""


def with_lines(instructions: Sequence[Instruction], found: Iterable[Row]) -> tuple[Instruction, ...]:
    """Return the instructions with the file and line of each one that has them."""
    rows = sorted(islice(found, _MOST_ROWS), key=lambda row: row[0])
    placed = []
    for one in instructions:
        after = bisect_right(rows, one.address, key=lambda row: row[0])
        _, file, line = rows[after - 1] if after else (0, None, 0)
        placed.append(replace(one, file=file, line=line or None) if file is not None else one)
    return tuple(placed)


def rows(dwarf: Any, address: int) -> Iterator[Row]:
    """Yield the line table's rows of the compilation unit that contains the code at an address."""
    for unit in islice(_units(dwarf, address), _MOST_UNITS):
        attributes = unit.get_top_DIE().attributes
        program = dwarf.line_program_for_CU(unit) if "DW_AT_stmt_list" in attributes else None
        if program is None or program.header["unit_length"] > _LARGEST_TABLE:
            continue
        folder = attributes["DW_AT_comp_dir"].value if "DW_AT_comp_dir" in attributes else b""
        home = text(folder) if isinstance(folder, bytes | str) else ""
        files: dict[int, str] = {}
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            if state.file not in files:
                files[state.file] = _file_path(program.header, state.file, home)
            yield state.address, None if state.end_sequence else files[state.file], state.line


def within(path: PurePath, home: str) -> str:
    """Return the path relative to ``home``, the folder where the compiler ran, if it lies there."""
    return (path.relative_to(home) if home and path.is_relative_to(home) else path).as_posix()


def _units(dwarf: Any, address: int) -> Iterator[Any]:
    """Yield the unit that the table of addresses names. Without such a table, yield all units if there are few."""
    ranges = dwarf.get_aranges()
    offset = ranges.cu_offset_at_addr(address) if ranges else None
    if offset is not None:
        yield dwarf.get_CU_at(offset)
    elif dwarf.debug_info_sec.size <= _LARGEST_INFO:
        yield from dwarf.iter_CUs()


def _file_path(header: Any, number: int, home: str) -> str:
    first = 0 if header["version"] >= 5 else 1
    entry = header["file_entry"][number - first]
    folders = header["include_directory"]
    folder = int(entry["dir_index"]) - first
    name = PurePosixPath(text(entry["name"]))
    if 0 <= folder < len(folders):
        name = PurePosixPath(text(folders[folder])) / name
    return within(PurePosixPath(home) / name, home)
