"""The facts of ELF files, compared with what pyelftools reads."""

import io
import struct
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.enums import ENUM_E_MACHINE
from elftools.elf.sections import SymbolTableSection
from elftools.elf.segments import InterpSegment

from app.binary import NotABinaryError, elf_facts

FILES = [Path("/bin/sh"), *sorted(Path("/usr/bin").glob("b*"))[:10], *sorted(Path("/usr/lib").glob("*/libc.so*"))]


@pytest.mark.parametrize("path", [path for path in FILES if path.is_file() and path.read_bytes()[:4] == b"\x7fELF"])
def test_files_of_this_system_have_the_facts_that_pyelftools_reads(path: Path) -> None:
    with path.open("rb") as file:
        found = elf_facts.facts(file)
        elf = ELFFile(file)
        assert found.entry == elf["e_entry"]
        assert ENUM_E_MACHINE[elf["e_machine"]] in elf_facts.MACHINES
        tables = [one for one in elf.iter_sections() if isinstance(one, DynamicSection)]
        assert list(found.needed) == [vars(tag)["needed"] for table in tables for tag in table.iter_tags("DT_NEEDED")]
        loaders = [one.get_interp_name() for one in elf.iter_segments() if isinstance(one, InterpSegment)]
        assert found.interpreter == (loaders[0] if loaders else None)
        symbols = [
            symbol.name
            for table in elf.iter_sections()
            if isinstance(table, SymbolTableSection)
            for symbol in table.iter_symbols()
            if symbol["st_value"] == found.entry and symbol["st_shndx"] != "SHN_UNDEF"
        ]
        assert found.entry_symbol is None if not symbols else found.entry_symbol in symbols


def test_further_machines_have_the_names_of_pyelftools() -> None:
    for number, name in elf_facts.FURTHER_MACHINES.items():
        assert ENUM_E_MACHINE[f"EM_{name}"] == number


@pytest.mark.parametrize("size", [0, 4, 15, 63, 100])
def test_a_file_that_is_cut_off_is_damaged(size: int) -> None:
    data = FILES[0].read_bytes()[:size]
    with pytest.raises((NotABinaryError, struct.error, IndexError)):
        elf_facts.facts(io.BytesIO(data))
