"""Programs that look at a file, and the options that only look."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_SECTION = r"[A-Za-z0-9_.][A-Za-z0-9_.:/-]*"
_NUMBER = r"0x[0-9a-fA-F]{1,8}|[0-9]{1,9}"


@dataclass(frozen=True)
class Look:
    """One program's accepted options: ``letters`` match bundled short ones, ``values`` are those with a value."""

    letters: str
    long: frozenset[str] = frozenset()
    values: Mapping[str, str] = field(default_factory=dict)
    example: str = ""

    def takes(self, option: str) -> bool:
        """Return True for an option that stands alone."""
        return option in self.long or re.fullmatch(self.letters, option) is not None

    def value_of(self, option: str) -> re.Pattern[str] | None:
        """Return the pattern of the value that comes after this option; None if none comes."""
        return re.compile(self.values[option]) if option in self.values else None

    def holds(self, option: str) -> bool:
        """Return True for an option with its value in the same word, such as ``-l64``."""
        name, equals, value = option.partition("=") if option.startswith("--") else (option[:2], "=", option[2:])
        return bool(equals and name in self.values and value and re.fullmatch(self.values[name], value))


LOOKS: Mapping[str, Look] = {
    "readelf": Look(
        r"-[aehlSsnrdVAgtW]+",
        frozenset(
            "--all --file-header --program-headers --segments --section-headers --sections --headers --symbols --syms "
            "--notes --relocs --dynamic --section-groups --section-details --arch-specific --wide --use-dynamic "
            "--dyn-syms --version-info --demangle --version --help".split()
        ),
        {"-x": _SECTION, "-p": _SECTION},
        "-h",
    ),
    "objdump": Look(
        r"-[afhpxdDSstTrRlC]+",
        frozenset(
            "--archive-headers --file-headers --section-headers --headers --private-headers --all-headers "
            "--disassemble --disassemble-all --source --full-contents --syms --dynamic-syms --reloc --dynamic-reloc "
            "--line-numbers --demangle --no-show-raw-insn --no-addresses --version --help".split()
        ),
        {"-j": r"[A-Za-z0-9_.]+", "--section": r"[A-Za-z0-9_.]+", "-M": r"[a-z0-9,-]+"},
        "-d",
    ),
    "nm": Look(
        r"-[aCDgnpPrSuv]+",
        frozenset(
            "--defined-only --undefined-only --demangle --dynamic --extern-only --numeric-sort --no-sort "
            "--print-size --size-sort --reverse-sort --debug-syms --version --help".split()
        ),
    ),
    "size": Look(
        r"-[ABdoxt]+",
        frozenset(
            "--format=berkeley --format=sysv --format=gnu --radix=8 --radix=10 --radix=16 --totals "
            "--version --help".split()
        ),
        example="-A",
    ),
    "file": Look(
        r"-[bikLsz]+",
        frozenset("--brief --mime --mime-type --mime-encoding --keep-going --dereference --version --help".split()),
    ),
    "strings": Look(
        r"-[adfow]+|-[0-9]{1,3}",
        frozenset("--all --data --print-file-name --include-all-whitespace --version --help".split()),
        {
            "-n": r"[0-9]{1,4}",
            "--bytes": r"[0-9]{1,4}",
            "-t": r"[dox]",
            "--radix": r"[dox]",
            "-e": r"[sSblBL]",
            "--encoding": r"[sSblBL]",
        },
    ),
    "xxd": Look(
        r"-[abCdeEiupv]|-ps|-bits|-plain",
        frozenset(),
        {name: _NUMBER for names in ("-l -len", "-s -seek -skip", "-c -cols", "-g", "-o") for name in names.split()},
        "-l 64",
    ),
    "hexdump": Look(
        r"-[bcCdoxv]+",
        frozenset("--canonical --no-squeezing --version --help".split()),
        {"-n": _NUMBER, "--length": _NUMBER, "-s": _NUMBER, "--skip": _NUMBER},
        "-C",
    ),
}
ONE_FILE = ("xxd",)
"""Programs that would write to a second file."""
