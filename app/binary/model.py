"""The types that the readers of binaries return."""

from dataclasses import dataclass
from typing import BinaryIO, Literal

from app.protocol.visible import visible

LONGEST_NAME = 200
"""The longest name in a result, in characters. A hostile file may contain a name of megabytes."""
MOST_NAMES = 64
"""The largest number of names of one kind in a result."""
_LARGEST_FILE = 24 * 1024 * 1024


class NotABinaryError(ValueError):
    """The file has an unknown format or is damaged."""


@dataclass(frozen=True)
class BinaryFacts:
    """The facts about a linked file that the ``artifact`` event reports, under the same names.

    ``entry`` is the entry address: 0 if the linker found no entry point, None if the format has none. ``subsystem`` is
    Windows' name for the kind of program, None in other formats.
    """

    format: str
    machine: str
    entry: int | None
    entry_symbol: str | None
    needed: tuple[str, ...]
    interpreter: str | None
    runtime: tuple[str, ...]
    subsystem: str | None = None


SectionKind = Literal["code", "constants", "data", "loader", "names", "debug", "other"]
"""A section's purpose. ``loader`` sections are read by the dynamic loader; ``names`` are symbols and their strings."""


@dataclass(frozen=True)
class Section:
    """A section, with its size in the file and its address in memory (0 if it is not loaded)."""

    name: str
    kind: SectionKind
    bytes: int
    address: int = 0


@dataclass(frozen=True)
class Symbol:
    """A symbol that the file defines. ``bytes`` is 0 if the format does not record sizes."""

    name: str
    address: int
    bytes: int = 0


@dataclass(frozen=True)
class Symbols:
    """The numbers of defined and undefined symbols, with the largest and all names of the defined ones.

    ``shown`` has the largest symbols, sorted by size. ``names`` has all defined names, sorted, or is None if there are
    too many.
    """

    defined: int
    undefined: int
    shown: tuple[Symbol, ...]
    names: tuple[str, ...] | None


@dataclass(frozen=True)
class Instruction:
    """One instruction: its address, its bytes in hexadecimal, its text, and the name of the function it refers to.

    ``file`` and ``line`` are its place in the source, if debug information has it.
    """

    address: int
    code: str
    text: str
    target: str | None = None
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True)
class Code:
    """The function at the entry address. ``truncated`` is True if it has more instructions than these."""

    symbol: str | None
    instructions: tuple[Instruction, ...]
    truncated: bool


@dataclass(frozen=True)
class Call:
    """A step from the entry point to the learner's ``main``.

    ``how`` is ``entry`` for the first step, ``calls`` if the previous step calls this function, ``hands over`` if it
    passes the function's address on, and ``names`` if only the function's name was found. ``library`` is True if the
    function is in another file.
    """

    name: str
    how: Literal["entry", "calls", "hands over", "names"]
    address: int | None = None
    library: bool = False


@dataclass(frozen=True)
class Card:
    """Everything that is shown of a binary. ``unread`` names the parts that could not be read, or not in time."""

    facts: BinaryFacts
    bytes: int
    sections: tuple[Section, ...] = ()
    symbols: Symbols | None = None
    code: Code | None = None
    calls: tuple[Call, ...] = ()
    unread: tuple[str, ...] = ()


def read_all(file: BinaryIO) -> bytes:
    """Return all bytes of a file, for LIEF, which copies them. Raises ``NotABinaryError`` if the file is too large."""
    data = file.read(_LARGEST_FILE + 1)
    if len(data) > _LARGEST_FILE:
        raise NotABinaryError("the file is too large to read")
    return data


def whole_records(data: bytes, size: int) -> bytes:
    """Return the data without an incomplete record of ``size`` bytes at its end."""
    return data[: len(data) - len(data) % size]


def text(value: bytes | str) -> str:
    """Return a name, cut to ``LONGEST_NAME`` characters.

    Invalid UTF-8 and invisible characters, such as those that change the direction of a line, become U+FFFD.
    """
    if isinstance(value, bytes):
        value = value[: 4 * LONGEST_NAME].decode("utf-8", "replace")
    # LIEF can return lone surrogates, which JSON cannot hold.
    shown = value[:LONGEST_NAME].encode("utf-8", "replace").decode("utf-8")
    return visible(shown)
