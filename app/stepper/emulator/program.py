"""A program's file: its machine, the segments to load, and the functions and source lines of its addresses."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile

from .processors import PROCESSORS, Processor

_LARGEST = 16 * 1024 * 1024
_MOST_SEGMENTS = 32
_LARGEST_LINES = 512 * 1024
MOST_NAMES = 20_000


class UnsupportedProgramError(Exception):
    """The program cannot be stepped through. The message is one sentence."""


def machine_and_segments(elf: ELFFile) -> tuple[Processor, list[Any]]:
    """Return the machine of a file and the segments to load. Raises ``UnsupportedProgramError``."""
    machine = PROCESSORS.get(str(elf["e_machine"]))
    if machine is None or not elf.little_endian or elf["e_type"] not in ("ET_EXEC", "ET_DYN"):
        raise UnsupportedProgramError("Only programs for x86-64, ARM and AArch64 can be stepped through.")
    segments = [one for one in elf.iter_segments() if one["p_type"] == "PT_LOAD" and one["p_memsz"]]
    size = sum(one["p_memsz"] for one in segments)
    if not segments or len(segments) > _MOST_SEGMENTS or size > _LARGEST:
        raise UnsupportedProgramError("Only small programs can be stepped through: up to 16 MiB in up to 32 segments.")
    one: Any
    for one in elf.iter_segments():
        if isinstance(one, DynamicSegment) and any(tag.entry.d_tag == "DT_NEEDED" for tag in one.iter_tags()):
            raise UnsupportedProgramError(
                "This program needs shared libraries. Only programs without them can be stepped through."
            )
        if one["p_type"] == "PT_NOTE" and any(note["n_name"] == "Xen" for note in one.iter_notes()):
            raise UnsupportedProgramError(
                "This kernel's loader enters it in 32-bit mode, but the stepper starts in 64-bit mode."
            )
    if not elf["e_entry"]:
        raise UnsupportedProgramError(
            "The file's entry address is 0: the linker found no entry point, so there is no first step."
        )
    return machine, segments


@dataclass(frozen=True)
class Places:
    """The functions and source lines of a program, each sorted by address."""

    functions: Sequence[tuple[int, int, str]] = ()
    lines: Sequence[tuple[int, str | None, int]] = ()

    def function(self, address: int) -> tuple[str, int] | None:
        """Return the function that contains an address, and the offset in it."""
        at = bisect_right(self.functions, address, key=lambda one: one[0])
        if not at:
            return None
        start, size, name = self.functions[at - 1]
        return (name, address - start) if address - start < max(size, 1) or not size else None

    def line(self, address: int) -> tuple[str, int] | None:
        """Return the file and line of the instruction at an address."""
        at = bisect_right(self.lines, address, key=lambda one: one[0])
        if not at or self.lines[at - 1][1] is None:
            return None
        _, file, line = self.lines[at - 1]
        return (file or "", line) if line else None


def places(elf: ELFFile) -> Places:
    """Return the functions and lines of a file, without the lines if their tables are damaged."""
    functions: list[tuple[int, int, str]] = []
    table: Any = elf.get_section_by_name(".symtab")
    if table is not None and table.num_symbols() <= MOST_NAMES:
        for one in table.iter_symbols():
            name = one.name
            if (
                name
                and not name.startswith("$")
                and one["st_shndx"] != "SHN_UNDEF"
                and one["st_info"]["type"]
                in (
                    "STT_FUNC",
                    "STT_NOTYPE",
                )
            ):
                functions.append((one["st_value"] & ~(elf["e_machine"] == "EM_ARM"), one["st_size"], name))
    try:
        lines = sorted(_lines(elf), key=lambda one: one[0])
    except Exception:
        lines = []
    return Places(sorted(functions), lines)


def _lines(elf: ELFFile) -> Iterator[tuple[int, str | None, int]]:
    section = elf.get_section_by_name(".debug_line")
    if section is None or section.data_size > _LARGEST_LINES:
        return
    dwarf = elf.get_dwarf_info()
    for unit in dwarf.iter_CUs():
        program = dwarf.line_program_for_CU(unit)
        if program is None:
            continue
        home = unit.get_top_DIE().attributes.get("DW_AT_comp_dir")
        for entry in program.get_entries():
            state = entry.state
            if state is not None:
                file = None if state.end_sequence else _file(program.header, state.file, home.value if home else b"")
                yield state.address, file, state.line


def _file(header: Any, number: int, home: bytes) -> str:
    old = header["version"] < 5
    entry = header["file_entry"][number - 1 if old else number]
    folders = [b"", *header["include_directory"]] if old else header["include_directory"]
    folder = folders[entry["dir_index"]] if entry["dir_index"] < len(folders) else b""
    path = entry["name"] if entry["name"].startswith(b"/") or not folder else folder + b"/" + entry["name"]
    return str(path.removeprefix(home + b"/").decode("utf-8", "replace"))
